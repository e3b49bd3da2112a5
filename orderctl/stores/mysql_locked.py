"""Orders whose rows a transaction has locked, and what may become of those of an older epoch."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from orderctl.order import OPEN, Change, Decision, Order, Transition, decide
from orderctl.stores.hot import OldEpoch, Removal


class Locked(Struct):
    """Rows under this transaction's lock by their ids, and the ids of those among them that are of an older epoch."""

    orders: dict[str, Order]
    old: set[str]

    def of_older_epochs(self, removals: Sequence[Removal]) -> set[tuple[str, int]]:
        """Those of `removals`, each an id and a version, that are open rows of an older epoch at these very versions."""
        orders = [self.orders[order_id] for order_id in self.old]
        found = {(order.order_id, order.version) for order in orders if order.status in OPEN}
        return found & {(removal.order_id, removal.version) for removal in removals}

    def decide(self, change: Change, *, now_us: int) -> Decision | OldEpoch:
        """What is to become of the order. Whoever may not know of it is not told of its epoch either."""
        order = self.orders.get(change.order_id)
        decision = decide(order, change, now_us=now_us)
        is_known = isinstance(decision, Transition) or decision.order is not None
        if order is not None and is_known and order.order_id in self.old and order.status in OPEN:
            return OldEpoch(order)
        return decision
