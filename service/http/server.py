"""/metrics and health over HTTP, in a thread of its own; asks the service, changes nothing."""

from __future__ import annotations

import socket
import threading
from typing import Protocol

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.errors import AnomalydError

_BACKLOG = 128


class Health(Protocol):
    """What the probes want to know."""

    def unhealthy(self) -> str | None:
        """Why the process should be started anew; `None` while all is well."""

    def unready(self) -> str | None:
        """Why no work can be done right now; `None` when it can."""


def make_app(registry: CollectorRegistry, health: Health) -> Starlette:
    """The routes; `registry` is read anew at every scrape."""

    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    def healthy(_: Request) -> Response:
        return _verdict(health.unhealthy())

    def ready(_: Request) -> Response:
        return _verdict(health.unready())

    return Starlette(
        routes=[Route("/metrics", metrics), Route("/-/healthy", healthy), Route("/-/ready", ready)]
    )


def _verdict(trouble: str | None) -> Response:
    return PlainTextResponse(trouble or "ok", status_code=503 if trouble else 200)


class HttpServer:
    """Serves an app until stopped.

    Raises:
        AnomalydError: the address is taken or not this machine's.
    """

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
            self._socket.listen(_BACKLOG)  # whoever connects before the thread runs is served a little later
        except OSError as error:
            self._socket.close()
            raise AnomalydError(f"http: cannot listen on {host}:{port}: {error.strerror}") from error
        self.host, self.port = host, int(self._socket.getsockname()[1])
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )

    @property
    def url(self) -> str:
        return url_of(self.host, self.port)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(5.0)
        self._socket.close()


def url_of(host: str, port: int) -> str:
    """The URL of an address; an IPv6 one stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
