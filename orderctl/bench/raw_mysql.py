"""MySQL by its driver alone: rows that are put into the same tables by as few statements as there can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orderctl.bench.measuring import Measure, measured
from orderctl.bench.orders import batches, drafts_of
from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.contracts import Query, named_queries
from orderctl.order import NewOrder
from orderctl.stores.hot import Draft
from orderctl.stores.mysql_driver import connect, drop, render, send
from orderctl.stores.mysql_hot import server_of
from orderctl.stores.rows import id_bytes, row_of

ENDS = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('gtid_executed', 'gtid_binlog_pos')"


def insert_raw(config: Config, news: Sequence[NewOrder]) -> Measure:
    """A transaction for each batch: BEGIN, an INSERT into each of the two tables, COMMIT. Their texts are made before."""
    sql = named_queries("sql", "mysql/hot_queries.sql")
    (shard,) = config.mysql.shards
    connection = connect(server_of(shard))
    try:
        transactions = [
            ["BEGIN", *(render(query, connection.escape, {}, rows) for query, rows in _inserts(sql, batch)), "COMMIT"]
            for batch in batches(drafts_of(news, SystemClock()))
        ]

        def work() -> int:
            for statements in transactions:
                for statement in statements:
                    send(connection, statement)
            return len(news)

        return measured(work)
    finally:
        drop(connection)


def end_of_binlog(config: Config) -> str:
    """The position behind everything that was committed so far."""
    (shard,) = config.mysql.shards
    connection = connect(server_of(shard))
    try:
        known = {str(name): str(value) for name, value in send(connection, ENDS)[1]}
        return known.get("gtid_binlog_pos") or known.get("gtid_executed", "")
    finally:
        drop(connection)


def versions(config: Config) -> dict[str, str]:
    """What answers."""
    (shard,) = config.mysql.shards
    connection = connect(server_of(shard))
    try:
        ((version,),) = send(connection, "SELECT VERSION()")[1]
        return {"MySQL": str(version)}
    finally:
        drop(connection)


def _inserts(sql: Mapping[str, Query], drafts: Sequence[Draft]) -> list[tuple[Query, list[dict[str, object]]]]:
    """The rows in the order of their keys, which is how the hot store locks them."""
    references = sorted(
        (draft.order.merchant_id, draft.order.merchant_ref, id_bytes(draft.order.order_id), draft.digest)
        for draft in drafts
    )
    names = ("merchant_id", "merchant_ref", "order_id", "digest")
    orders = sorted((draft.order for draft in drafts), key=lambda order: order.order_id)
    return [
        (sql["claim_references"], [dict(zip(names, row, strict=True)) for row in references]),
        (sql["insert_orders"], [row_of(order) for order in orders]),
    ]
