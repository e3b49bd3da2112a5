"""Messages of the embedded log as rows, and back."""

from __future__ import annotations

import msgspec

from orderctl.contracts import named_queries
from orderctl.stores.log import Message, Outgoing, Place
from orderctl.stores.sqlite.driver import Transaction
from orderctl.stores.sqlite.log_groups import QUERIES

_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode


def write_message(transaction: Transaction, partition_id: int, offset: int, ts_ms: int, message: Outgoing) -> None:
    """Write a message at an offset that was claimed for it."""
    parameters = {
        "partition_id": partition_id,
        "offset": offset,
        "ts_ms": ts_ms,
        "headers": _encode_headers(message.headers),
        "key": message.key,
        "value": message.value,
    }
    transaction.rows(named_queries("sql", QUERIES)["insert_message"], parameters)


def read_messages(transaction: Transaction, partition_id: int, place: Place, offset: int, limit: int) -> list[Message]:
    """At most `limit` of a partition's messages, in order, from the first that is kept at `offset` or behind it."""
    parameters = {"partition_id": partition_id, "offset": offset, "count": limit}
    rows = transaction.rows(named_queries("sql", QUERIES)["messages"], parameters)
    return [Message(place, at, key, value, _decode_headers(headers), ts_ms) for at, key, value, headers, ts_ms in rows]
