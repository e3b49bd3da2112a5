"""Whether a server does its work, asked in its own protocol by a few bytes: no driver has to be there."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

Address = tuple[str, int]

PATIENCE_S: Final = 2.0
_MYSQL_PROTOCOL: Final = 0x0A
_CQL_OPTIONS: Final = struct.pack(">BBHBI", 4, 0, 0, 5, 0)
_CQL_SUPPORTED: Final = 6
_CQL_ERROR: Final = 0
_CQL_STARTUP: Final = 1
_CQL_QUERY: Final = 7
_CQL_ONE: Final = 1
_PEERS: Final = b"SELECT count(*) FROM system.peers_v2"
_KAFKA_METADATA: Final = struct.pack(">hhih", 3, 0, 1, -1) + struct.pack(">i", 0)
REPLY_BYTES_MAX: Final = 1 << 20


def greets_as_sql(address: Address) -> bool:
    """MySQL and MariaDB speak first, and begin with the protocol's number."""
    with _talk(address) as stream:
        return _exactly(stream, 5)[4] == _MYSQL_PROTOCOL


def answers_cql(address: Address) -> bool:
    """OPTIONS needs no login and is answered by SUPPORTED."""
    with _talk(address) as stream:
        stream.write(_CQL_OPTIONS)
        return _exactly(stream, 5)[4] == _CQL_SUPPORTED


def knows_peers(address: Address, count: int) -> bool:
    """Whether a Cassandra node has met that many others."""
    with _talk(address) as stream:
        _cql(stream, _CQL_STARTUP, struct.pack(">HH11sH5s", 1, 11, b"CQL_VERSION", 5, b"3.4.5"))
        answer = _cql(stream, _CQL_QUERY, struct.pack(f">I{len(_PEERS)}sHB", len(_PEERS), _PEERS, _CQL_ONE, 0))
        (found,) = struct.unpack(">q", answer[-8:])  # one row of one column: the answer ends with its value
        return bool(found >= count)


def lists_a_broker(address: Address) -> bool:
    """Metadata, in its first version, names a broker once the broker has joined its own cluster."""
    with _talk(address) as stream:
        stream.write(struct.pack(">i", len(_KAFKA_METADATA)) + _KAFKA_METADATA)
        _exactly(stream, 8)
        (brokers,) = struct.unpack(">i", _exactly(stream, 4))
        return bool(brokers > 0)


def redis(address: Address, *words: str) -> str:
    """One command to a Redis node, and its answer: a status, a number or a text.

    Raises:
        OSError: the node cannot be reached, or is silent.
        ValueError: it answers with an error, or with something else than the three.

    """
    with _talk(address) as stream:
        encoded = [word.encode() for word in words]
        stream.write(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in encoded))
        line = stream.readline(REPLY_BYTES_MAX).decode().rstrip("\r\n")
        kind, rest = line[:1], line[1:]
        if kind == "$" and 0 <= int(rest) <= REPLY_BYTES_MAX:
            return _exactly(stream, int(rest)).decode()
        if kind in {"+", ":"}:
            return rest
    raise ValueError(f"{' '.join(words)}: {line or 'the connection was closed'}")


def _cql(stream: socket.SocketIO, operation: int, body: bytes) -> bytes:
    """One request to Cassandra, and its answer's body."""
    stream.write(struct.pack(">BBHBI", 4, 0, 0, operation, len(body)) + body)
    _version, _flags, _stream, answered, size = struct.unpack(">BBHBI", _exactly(stream, 9))
    if answered == _CQL_ERROR or size > REPLY_BYTES_MAX:
        raise ValueError("Cassandra answers with an error")
    return _exactly(stream, size)


@contextmanager
def _talk(address: Address) -> Iterator[socket.SocketIO]:
    with socket.create_connection(address, PATIENCE_S) as connection, connection.makefile("rwb", 0) as stream:
        yield stream


def _exactly(stream: socket.SocketIO, size: int) -> bytes:
    """`size` bytes.

    Raises:
        ConnectionError: the other side closed before.

    """
    parts = bytearray()
    while len(parts) < size:
        part = stream.read(size - len(parts))
        if not part:
            raise ConnectionError("closed in the middle of an answer")
        parts += part
    return bytes(parts)
