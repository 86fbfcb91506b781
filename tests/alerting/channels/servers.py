"""Scripted servers on this machine that speak the real protocols."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that hang up on a connection kept alive."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@dataclass(slots=True)
class Answer:
    """One HTTP answer; `reset` cuts the connection after `status` was sent (0: before)."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "ok"
    reset: bool = False


@dataclass(slots=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class HttpServer:
    """Gives the scripted answers in turn, and 200 after that; keeps what it was asked."""

    def __init__(self, *script: Answer, default: Answer | None = None) -> None:
        self.script = list(script)
        self.default = default or Answer()
        self.requests: list[Request] = []
        self.on_request: Callable[[], None] = lambda: None
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> HttpServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def secure(self, context: ssl.SSLContext) -> HttpServer:
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        return self

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    owner: HttpServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.requests.append(Request(self.path, headers, body))
        self.owner.on_request()
        answer = self.owner.script.pop(0) if self.owner.script else self.owner.default
        if answer.status:
            self._answer(answer)
        if answer.reset or not answer.status:
            self.close_connection = True
            # Linger 0 turns the close into a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    do_GET = do_POST  # noqa: N815  http.server looks for this name

    def _answer(self, answer: Answer) -> None:
        payload = answer.body.encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload) + (100 if answer.reset else 0)))
        self.end_headers()
        self.wfile.write(payload)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class MailServer:
    """Takes mails, unless `refusals` says otherwise for a recipient or `answer` for the whole mail."""

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        implicit: bool = False,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.mails: list[Envelope] = []
        self.refusals: dict[str, str] = {}
        self.answer = "250 taken"
        self._login = login
        self.logins: list[bytes] = []
        self._controller = _Controller(self, tls, implicit=implicit, login=login is not None)

    @property
    def port(self) -> int:
        return self._controller.real_port

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name and arguments
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            self.mails.append(envelope)
        return self.answer

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login)
        success = (data.login.decode(), data.password.decode()) == self._login
        return AuthResult(success=success, handled=False)

    def __enter__(self) -> MailServer:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


class _Controller(Controller):
    def __init__(self, owner: MailServer, tls: ssl.SSLContext | None, *, implicit: bool, login: bool) -> None:
        self._smtp_settings: dict[str, Any] = {
            "tls_context": None if implicit else tls,
            "require_starttls": tls is not None and not implicit,
            "auth_required": login and not implicit,
            "auth_require_tls": not implicit,
            "authenticator": owner.authenticate if login else None,
        }
        super().__init__(owner, hostname="127.0.0.1", port=0, ssl_context=tls if implicit else None)

    def factory(self) -> SMTP:
        return SMTP(self.handler, **self._smtp_settings)

    def _trigger_server(self) -> None:
        # The controller would connect to port 0, which is only the request for a free one.
        self.port = self.real_port
        super()._trigger_server()  # type: ignore[no-untyped-call]

    @property
    def real_port(self) -> int:
        assert isinstance(self.server, asyncio.Server)
        return int(self.server.sockets[0].getsockname()[1])


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def parsed(envelope: Envelope) -> Message:
    from email import message_from_bytes, policy

    content = envelope.content
    assert isinstance(content, bytes)
    return message_from_bytes(content, policy=policy.default)
