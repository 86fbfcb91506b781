"""The proxy fails as it is told to; an echo server stands for the broker."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Proxy


def _echo(listening: socket.socket) -> None:
    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)
            except OSError:
                return

    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_echo, args=(listening,), daemon=True)
        thread.start()
        made = Proxy()
        made.upstream = listening.getsockname()[1]
        yield made
        made.close()
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def _connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5.0)


def _asked(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return connection.recv(100)


def test_bytes_pass_both_ways(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        assert _asked(connection, b"hello") == b"hello"


def test_a_cut_breaks_connections_off_until_it_is_restored(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        assert _asked(connection, b"hello") == b"hello"
        proxy.cut()
        with pytest.raises(ConnectionError):
            _raise_if_ended(connection)
    with pytest.raises(ConnectionError), _connect(proxy) as connection:
        _raise_if_ended(connection)
    proxy.restore()
    with _connect(proxy) as connection:
        assert _asked(connection, b"again") == b"again"


def _raise_if_ended(connection: socket.socket) -> None:
    if connection.recv(100) == b"":
        raise ConnectionResetError


def test_a_delay_holds_each_way(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        proxy.delay(0.1)
        began = time.monotonic()
        assert _asked(connection, b"hello") == b"hello"
        assert time.monotonic() - began >= 0.2
        proxy.restore()
        assert _asked(connection, b"again") == b"again"


def test_answers_are_lost_after_so_many_bytes_and_their_connection_ends_at_the_restore(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        proxy.lose_answers(3)
        assert _asked(connection, b"hello") == b"hel"
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            _asked(connection, b"anyone?")
        connection.settimeout(5.0)
        proxy.restore()
        with pytest.raises(ConnectionError):
            _raise_if_ended(connection)
    with _connect(proxy) as connection:
        assert _asked(connection, b"again") == b"again"
