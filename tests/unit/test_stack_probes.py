"""Probes: what a server has to say to count as healthy, said here by sockets that say that and nothing else."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from orderctl.stack.probes import Address, answers_cql, greets_as_sql, lists_a_broker, redis

Serve = Callable[[bytes], Address]
GREETING = b"\x4a\x00\x00\x00\x0a8.0.33\x00"
SUPPORTED = struct.pack(">BBHBI", 0x84, 0, 0, 6, 2) + b"\x00\x00"
CQL_ERROR = struct.pack(">BBHBI", 0x84, 0, 0, 0, 2) + b"\x00\x00"


def metadata(brokers: int) -> bytes:
    """Kafka's answer, which lists that many brokers."""
    return struct.pack(">iii", 8, 1, brokers)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Opens ports where everybody is told the same, in two pieces, and nothing more."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def talk(listener: socket.socket, said: bytes) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):  # the probe may have heard enough
            for piece in (said[:3], said[3:]):
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    def opened(said: bytes) -> Address:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threads.append(threading.Thread(target=talk, args=(listener, said)))
        threads[-1].start()
        host, port = listener.getsockname()
        return host, port

    yield opened
    for thread in threads:
        thread.join(60)
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize(
    ("probe", "said", "healthy"),
    [
        (greets_as_sql, GREETING, True),
        (greets_as_sql, b"\x10\x00\x00\x00\xffToo many connections", False),
        (answers_cql, SUPPORTED, True),
        (answers_cql, CQL_ERROR, False),
        (lists_a_broker, metadata(1), True),
        (lists_a_broker, metadata(0), False),
    ],
)
def test_what_is_healthy(serve: Serve, probe: Callable[[Address], bool], said: bytes, healthy: bool) -> None:
    """By the bytes that the protocol puts in that place."""
    assert probe(serve(said)) is healthy


@pytest.mark.parametrize("probe", [greets_as_sql, answers_cql, lists_a_broker])
def test_a_server_that_hangs_up(serve: Serve, probe: Callable[[Address], bool]) -> None:
    """In the middle of an answer, or before it: an error of the connection."""
    with pytest.raises(ConnectionError):
        probe(serve(b"\x00\x00"))
    with closing(socket.create_server(("127.0.0.1", 0))) as nobody:
        address = nobody.getsockname()
    with pytest.raises(ConnectionError):
        probe(address)


@pytest.mark.parametrize(
    ("said", "answer"),
    [(b"+PONG\r\n", "PONG"), (b":42\r\n", "42"), (b"$7\r\none\r\ntw\r\n", "one\r\ntw"), (b"$0\r\n\r\n", "")],
)
def test_what_redis_answers(serve: Serve, said: bytes, answer: str) -> None:
    """A status, a number or a text."""
    assert redis(serve(said), "CLUSTER", "INFO") == answer


@pytest.mark.parametrize("said", [b"-ERR no\r\n", b"*1\r\n+a\r\n", b"$-1\r\n", b"", b"$99999999\r\n"])
def test_what_redis_must_not_answer(serve: Serve, said: bytes) -> None:
    """An error, nothing, or something that no command here is answered by."""
    with pytest.raises((ValueError, ConnectionError)):
        redis(serve(said), "PING")


def test_a_silent_server_is_not_waited_for_long() -> None:
    """The kernel takes the connection and nobody speaks: the probe's patience is bounded."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
        greets_as_sql(silent.getsockname())
