"""Orders that fall due together, and the account of them: none timed out early, none late, and what found them."""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from orderctl.clock import US_PER_S
from orderctl.config import Config
from orderctl.order import Order, Status
from orderctl.stores.tiers import Tiers
from tests.acceptance.ledger import Api
from tests.acceptance.quiet import Record, opened
from tests.acceptance.server import TICK, Server, until

BATCH = 500
BOUND_S = 5.0
"""While the daemons run, no order is open for longer past its deadline …"""
BUSY_S = 15.0
"""… unless the machine kept them from running: still less than what is hurt in these tests is away."""
PATIENCE_S = 60.0
_FOUND = re.compile(r'^orderctl_timeouts_total\{found_by="(\w+)"\} ([\d.e+]+)$', re.MULTILINE)


def create_due(api: Api, count: int, *, in_s: float, prefix: str) -> list[str]:
    """So many orders whose deadlines all lie in the second before `in_s` seconds from now; returns their ids."""
    due_at_s = time.time() + in_s
    order_ids: list[str] = []
    for first in range(0, count, BATCH):
        timeout_s = int(due_at_s - time.time())
        assert timeout_s >= 1, f"only {first} orders were created within {in_s} s"
        orders = [
            {
                "merchant_ref": f"{prefix}-{number}",
                "amount": 100,
                "currency": "EUR",
                "payment_method": "card",
                "timeout_s": timeout_s,
            }
            for number in range(first, min(first + BATCH, count))
        ]
        answer = api.command("POST", "/v1/orders/batch", "demo", {"orders": orders})
        assert answer.status == 200, (answer.status, answer.body)
        order_ids += [result["order"]["order_id"] for result in answer.json["results"]]
    return order_ids


def wait_until_due(order_ids: Sequence[str], tiers: Tiers) -> None:
    """Wait until the first deadline of these has come."""
    deadline_s = min(order.deadline_at for order in load(order_ids, tiers)) / US_PER_S
    until(lambda: time.time() >= deadline_s, seconds=PATIENCE_S, what="the first deadline")


def load(order_ids: Sequence[str], tiers: Tiers) -> list[Order]:
    """The orders as the databases have them; each is in one."""
    found: list[Order] = []
    for first in range(0, len(order_ids), BATCH):
        some = order_ids[first : first + BATCH]
        here = tiers.hot.load(some)
        missing = [order_id for order_id, order in zip(some, here, strict=True) if order is None]
        there = tiers.archive.load(missing) if missing else []
        found += [order for order in (*here, *there) if order is not None]
    assert len(found) == len(order_ids), "an order is in neither database"
    return found


def account(
    order_ids: Sequence[str],
    api: Api,
    data_dir: Path,
    record_property: Record,
    *,
    config: Config | None = None,
    daemons: Sequence[Server] = (),
) -> Counter[str]:
    """Wait until none is open, and hold each against its deadline by the database's clock; readers see it, too.

    Returns what found those that these `daemons` timed out.
    """
    with opened(data_dir, config) as tiers:
        wait_until_due(order_ids, tiers)
        until(lambda: all_final(order_ids, tiers), seconds=PATIENCE_S, what="all are timed out")
        orders = load(order_ids, tiers)
    assert {order.status for order in orders} == {Status.TIMEOUT}
    late_s = sorted((order.updated_at - order.deadline_at) / US_PER_S for order in orders)
    cuts = statistics.quantiles(late_s, n=100, method="inclusive")
    record_property("orders", len(orders))
    record_property("seconds between the deadlines", _spread_s(orders))
    for name, value in (("p50", cuts[49]), ("p99", cuts[98]), ("max", late_s[-1])):
        record_property(f"lateness {name}, seconds", round(value, 3))
    found = found_by(*daemons)
    record_property("found by", dict(found))
    assert late_s[0] >= 0, "timed out early"
    assert cuts[98] <= BOUND_S, "open past the bound, as a rule"
    assert late_s[-1] <= BUSY_S, "open past the bound"
    until(lambda: all_shown(order_ids, api), seconds=PATIENCE_S, what="readers see it, too")
    return found


def all_shown(order_ids: Sequence[str], api: Api) -> bool:
    """Whether the query server tells of every order that it is timed out."""
    seen = Counter(status for first in range(0, len(order_ids), BATCH) for status in shown(order_ids[first:], api))
    return seen == {"timeout": len(order_ids)}


def all_final(order_ids: Sequence[str], tiers: Tiers) -> bool:
    """Whether none of these is open."""
    TICK.wait(0.2)  # it is a look at all of them
    return all(order.status.is_final for order in load(order_ids, tiers))


def shown(order_ids: Sequence[str], api: Api) -> list[str]:
    """The status that the query server tells of each of the first `BATCH` of these."""
    answer = api.query("POST", "/v1/orders/lookup", "demo", {"order_ids": list(order_ids[:BATCH])}, Prefer="wait=5")
    assert answer.status == 200, (answer.status, answer.body)
    return [result.get("order", {}).get("status", "still looked for") for result in answer.json["results"]]


def found_by(*servers: Server) -> Counter[str]:
    """What found the orders that these processes timed out."""
    found: Counter[str] = Counter()
    for server in servers:
        text = server.admin("/metrics").body.decode()
        found.update({name: int(float(number)) for name, number in _FOUND.findall(text)})
    return +found


def _spread_s(orders: Sequence[Order]) -> float:
    deadlines = [order.deadline_at for order in orders]
    return round((max(deadlines) - min(deadlines)) / US_PER_S, 3)
