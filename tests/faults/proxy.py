"""A TCP proxy that can be told to fail: stands between the service and one broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

_CHUNK = 1 << 16
_BACKLOG = 1024  # chunks on their way in one direction of one connection


@dataclass
class _Behaviour:
    """What happens to bytes; exchanged as a whole, so that a chunk meets one state or the other."""

    open: bool = True
    delay_s: float = 0.0
    answers_left: int | None = None  # bytes from the server that still pass; None = all
    losers: set[int] = field(default_factory=set)  # connections that lost something: useless from then on


class Proxy:
    """Listens on `port` of 127.0.0.1 and passes everything on to `upstream`, until told otherwise.

    Commands take effect before they return. A connection that lost bytes is broken off at `restore`.
    """

    def __init__(self) -> None:
        self.upstream = 0
        self._behaviour = _Behaviour()
        self._writers: dict[int, tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self._next = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break every connection off; new ones are broken off, too."""
        self._become(_Behaviour(open=False), break_off=True)

    def delay(self, seconds: float) -> None:
        """Every byte, either way, takes so much longer."""
        self._become(_Behaviour(delay_s=seconds))

    def lose_answers(self, after_bytes: int) -> None:
        """Let so many bytes of the broker's pass, then none, in silence; requests still get there."""
        self._become(_Behaviour(answers_left=after_bytes))

    def restore(self) -> None:
        self._become(_Behaviour())

    def close(self) -> None:
        self._become(_Behaviour(open=False), break_off=True)

        async def end() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _become(self, behaviour: _Behaviour, *, break_off: bool = False) -> None:
        async def become() -> None:
            before, self._behaviour = self._behaviour, behaviour
            for number in list(self._writers) if break_off else before.losers:
                self._break_off(number)

        self._run(become())

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10.0)

    def _break_off(self, number: int) -> None:
        for writer in self._writers.pop(number, ()):
            writer.transport.abort()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if not self._behaviour.open:
            to_client.transport.abort()
            return
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            to_client.transport.abort()
            return
        number, self._next = self._next, self._next + 1
        self._writers[number] = (to_client, to_server)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(from_client, to_server, lambda chunk: chunk))
                both.create_task(
                    self._pass(from_server, to_client, lambda chunk: self._answer(number, chunk))
                )
        except* OSError:
            pass
        finally:
            self._break_off(number)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, through: Callable[[bytes], bytes]
    ) -> None:
        """Read on one side and write on the other when it is time; raises when either side is gone."""
        way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_BACKLOG)

        async def read() -> None:
            while chunk := await source.read(_CHUNK):
                await way.put((self._loop.time() + self._behaviour.delay_s, through(chunk)))
            raise ConnectionResetError

        async def write() -> None:
            while True:
                due, chunk = await way.get()
                await asyncio.sleep(max(due - self._loop.time(), 0.0))
                sink.write(chunk)
                await sink.drain()

        async with asyncio.TaskGroup() as both:
            both.create_task(read())
            both.create_task(write())

    def _answer(self, number: int, chunk: bytes) -> bytes:
        """What of an answer gets through."""
        behaviour = self._behaviour
        if behaviour.answers_left is None:
            return chunk
        passed = chunk[: behaviour.answers_left]
        behaviour.answers_left -= len(passed)
        if len(passed) < len(chunk):
            behaviour.losers.add(number)
        return passed
