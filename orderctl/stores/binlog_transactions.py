"""From binlog events to what a pump reads: row changes of `orders`, and the ends of their transactions. Events in, items out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from orderctl.clock import US_PER_S
from orderctl.errors import TierRejected
from orderctl.event import ChangeEvent, Op, Source
from orderctl.order import Order
from orderctl.stores.binlog_events import (
    DELETES,
    ROWS,
    ROWS_UNREADABLE,
    ROWS_V1,
    UPDATES,
    Event,
    Kind,
    Started,
    mariadb_list,
    mysql_previous,
    query_text,
    started,
)
from orderctl.stores.binlog_positions import MariadbPosition, MysqlPosition
from orderctl.stores.binlog_rows import RowDecoder, read_table_map
from orderctl.stores.feed import Boundary, FeedItem, FeedPurged, RowChange
from orderctl.stores.mysql_driver import TIER

TABLE: Final = "orders"
NEAR_US: Final = 2 * US_PER_S
"""An order's `updated_at` this near to the second in which its statement began is when the change happened."""
LAYOUTS_MAX: Final = 16
"""Versions of the table that are kept in mind; a schema change makes one more."""

_ROW_HEAD: Final = 8
_WRITING: Final = ("insert", "update", "delete", "replace", "load")
_COMPRESSED: Final = (
    "turn off log_bin_compress (MariaDB), binlog_transaction_compression and binlog_row_value_options (MySQL)"
)


class Transactions:
    """Takes a stream's events in their order and collects `items`, which the reader empties.

    Transactions that write no order leave no trace but in the position.
    """

    def __init__(self, *, shard: str, database: str, position: MariadbPosition | MysqlPosition) -> None:
        self.items: list[FeedItem] = []
        self.position = position
        self.has_moved = False
        """Whether `position` is beyond the last boundary: others' transactions have passed."""
        self._shard = shard
        self._database = database
        name, table = database.encode(), TABLE.encode()
        self._table_name = bytes([len(name)]) + name + b"\0" + bytes([len(table)]) + table + b"\0"
        self._tables: dict[bytes, RowDecoder] = {}
        self._layouts: dict[bytes, RowDecoder] = {}
        self._current: Started | None = None
        self._in_group = False
        self._rows = 0
        self._handlers = self._handlers_by_kind()

    @property
    def is_inside(self) -> bool:
        """Whether a transaction has begun, whose end is on its way."""
        return self._current is not None

    def boundary(self) -> Boundary:
        """The end of the last transaction. Only between transactions."""
        assert not self.is_inside
        self.has_moved = False
        return Boundary(str(self.position))

    def take(self, event: Event) -> None:
        """The next event.

        Raises:
            FeedPurged: changes are missing.
            TierRejected: it is none that can follow, or it cannot be read.

        """
        handler = self._handlers.get(event.kind)
        if handler is None:
            return
        try:
            handler(event)
        except (ValueError, LookupError, struct.error) as error:
            raise TierRejected(TIER, f"an event of the binlog (type {event.kind}) cannot be read: {error}") from error

    def _handlers_by_kind(self) -> dict[int, Callable[[Event], None]]:
        return {
            **dict.fromkeys(ROWS, self._read_rows),
            **dict.fromkeys(ROWS_UNREADABLE, self._refuse_rows),
            **dict.fromkeys((Kind.MYSQL_GTID, Kind.MARIADB_GTID), self._start),
            **dict.fromkeys((Kind.MYSQL_PREVIOUS, Kind.MARIADB_LIST), self._check_file),
            **dict.fromkeys((Kind.QUERY, Kind.QUERY_COMPRESSED), self._read_query),
            **dict.fromkeys((Kind.ANONYMOUS, Kind.TAGGED_GTID, Kind.PAYLOAD), self._refuse),
            Kind.TABLE_MAP: self._read_table,
            Kind.XID: self._commit,
            Kind.XA_PREPARE: self._prepare,
            Kind.FORMAT: self._begin_file,
            Kind.INCIDENT: self._miss,
        }

    def _begin_file(self, _event: Event) -> None:
        # Tables are numbered anew by a server that was restarted, and then it has a new file.
        self._tables.clear()

    def _check_file(self, event: Event) -> None:
        """What stands in front of a file was read before: else the server began further on than it was asked to."""
        position = self.position
        if isinstance(position, MariadbPosition):
            is_known = position.includes(mariadb_list(event))
        else:
            is_known = position.includes(mysql_previous(event))
        if not is_known:
            raise FeedPurged(f"the server went on with a file of its binlog that begins behind {position}")

    def _start(self, event: Event) -> None:
        found = started(event)
        if self.position.has(found.gtid):
            raise TierRejected(
                TIER, f"the server sends {found.gtid.text} and was asked for what follows {self.position}"
            )
        self._current, self._rows = found, 0
        self._in_group = event.kind == Kind.MARIADB_GTID and not found.is_standalone

    def _read_table(self, event: Event) -> None:
        data, at = event.data, event.at
        number = data[at : at + 6]
        if not data.startswith(self._table_name, at + _ROW_HEAD):
            self._tables.pop(number, None)
            return
        layout = data[at + _ROW_HEAD : event.end]
        decoder = self._layouts.get(layout)
        if decoder is None:
            if len(self._layouts) >= LAYOUTS_MAX:
                self._layouts.clear()
            columns = read_table_map(data, at + _ROW_HEAD + len(self._table_name), event.end)
            decoder = self._layouts[layout] = RowDecoder(columns)
        self._tables[number] = decoder

    def _read_rows(self, event: Event) -> None:
        data, at = event.data, event.at
        decoder = self._tables.get(data[at : at + 6])
        if decoder is None:
            return
        if event.is_cut:
            raise ValueError("it is larger than 16 MiB")
        current = self._current
        if current is None:
            raise ValueError("rows without a GTID")
        at += _ROW_HEAD
        if event.kind not in ROWS_V1:
            at += int.from_bytes(data[at : at + 2], "little")
        op = Op.UPDATE if event.kind in UPDATES else Op.DELETE if event.kind in DELETES else Op.CREATE
        shard, gtid, committed_us, begun_us = self._shard, current.gtid.text, current.ts_us, event.ts_s * US_PER_S
        rows, add = self._rows, self.items.append
        for before, after in decoder.rows(data, at, event.end, op=op):
            rows += 1
            source = Source(shard, f"{gtid}:{rows}", committed_us or _time_us(after, begun_us))
            add(RowChange(ChangeEvent(before, after, op, source)))
        self._rows = rows

    def _refuse_rows(self, event: Event) -> None:
        if event.data[event.at : event.at + 6] in self._tables:
            raise TierRejected(TIER, f"rows of orders are compressed or partial (type {event.kind})", hint=_COMPRESSED)

    def _refuse(self, event: Event) -> None:
        if event.kind == Kind.PAYLOAD:
            raise TierRejected(TIER, "a transaction in the binlog is compressed", hint=_COMPRESSED)
        raise TierRejected(
            TIER, f"a transaction in the binlog has no plain GTID (type {event.kind})", hint="gtid_mode must be ON"
        )

    def _miss(self, _event: Event) -> None:
        raise FeedPurged("the server notes in its binlog that it has lost changes", hint="see the server's error log")

    def _read_query(self, event: Event) -> None:
        database, text = query_text(event)
        verb = text.lstrip().partition(" ")[0].lower()
        match verb:
            case "begin":
                self._in_group = True
            case "commit":
                self._commit(event)
            case "rollback":
                self._roll_back()
            case _ if not self._in_group:
                self._commit(event)
            case _ if verb in _WRITING and database == self._database and TABLE in text.lower():
                raise TierRejected(
                    TIER,
                    "a change of orders is in the binlog as a statement",
                    hint="binlog_format must be ROW, in every session",
                )

    def _roll_back(self) -> None:
        """A group that was undone is only written where it also wrote to tables that cannot undo; ours all can."""
        if self._rows:
            raise TierRejected(TIER, "a transaction in the binlog wrote orders and was rolled back in part")
        if self._current is not None:
            self._end(self._current)

    def _prepare(self, event: Event) -> None:
        if self._rows:
            raise TierRejected(TIER, "orders were written by an XA transaction, and its rows come before its commit")
        self._commit(event)

    def _commit(self, _event: Event) -> None:
        if self._current is not None:
            self._end(self._current)

    def _end(self, current: Started) -> None:
        self.position.add(current.gtid)
        self._current, self._in_group = None, False
        self.has_moved = True
        if self._rows:
            self.items.append(self.boundary())
            self._rows = 0


def _time_us(after: Order | None, begun_us: int) -> int:
    """When the change happened, where the server tells whole seconds only: by the order itself, if that can be."""
    return after.updated_at if after is not None and abs(after.updated_at - begun_us) < NEAR_US else begun_us
