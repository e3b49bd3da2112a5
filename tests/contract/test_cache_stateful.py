"""The embedded cache against a model of it that is plain to see, over random histories in which time passes."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs

from orderctl.clock import US_PER_S
from orderctl.order import Order, Status
from orderctl.stores.cache import Applied, Busy, Granted, LookupOutcome, Promotion, Put, Tentative
from orderctl.stores.record import NO_TOKEN, Entry, Kind, record_of
from tests.contract.cache_harness import an_order, at_version, entry_of, filled, not_found, token
from tests.contract.cache_sqlite_harness import SqliteCacheHarness

DEADLINE_US = 4_000_000_000 * US_PER_S
"""Far ahead: what happens at a deadline is another suite's."""
ORDERS = [structs.replace(an_order(), deadline_at=DEADLINE_US) for _ in range(2)]
HOLDERS = [token(number) for number in (1, 2)]
Model = dict[str, tuple[Entry, int]]
"""Each order's entry and when it expires, Unix microseconds; no expired ones."""

holders = st.sampled_from(HOLDERS)
ttls_ms = st.sampled_from([0, 1, 500, 2_000, 3_000, 60_000])


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """One of two orders, at one of three versions, once in a while with other words."""
    status = draw(st.sampled_from([Status.PROCESSING, Status.PROCESSING, Status.SUCCESS]))
    order = at_version(draw(st.sampled_from(ORDERS)), draw(st.integers(1, 3)), status=status)
    return structs.replace(order, status_reason=draw(st.sampled_from([None, None, None, "other words"])))


class CacheMachine(RuleBasedStateMachine):
    """Calls the store and changes the model alike, and compares what they say."""

    @initialize()
    def empty(self) -> None:
        self.harness = SqliteCacheHarness(None)
        self.cache = self.harness.open()
        self.model: Model = {}
        self.timers: set[str] = set()

    @property
    def now_us(self) -> int:
        return self.harness.now_us()

    def keep(self, order_id: str, entry: Entry, ttl_ms: int) -> None:
        self.model[order_id] = entry, self.now_us + max(ttl_ms, 1) * 1000

    def kind(self, order_id: str) -> Kind | None:
        return self.model[order_id][0].kind if order_id in self.model else None

    def set_timer(self, order: Order) -> None:
        (self.timers.discard if order.status.is_final else self.timers.add)(order.order_id)

    def holds(self, order_id: str, kind: Kind, holder: bytes) -> bool:
        return self.kind(order_id) is kind and self.model[order_id][0].token == holder

    @rule(ms=st.sampled_from([0.001, 1, 400, 1_500, 2_000, 10_000]))
    def time_passes(self, ms: float) -> None:
        self.harness.pass_time(ms / 1000)
        self.model = {order_id: kept for order_id, kept in self.model.items() if kept[1] > self.now_us}

    @rule(order=st.sampled_from(ORDERS))
    def vanish(self, order: Order) -> None:
        self.harness.evict(order.order_id)
        self.model.pop(order.order_id, None)

    @rule(order=orders(), creator=holders, ttl_ms=st.sampled_from([-1, 0, 1, 400, 5_000, 10_000, 10_001]))
    def tentative(self, order: Order, creator: bytes, ttl_ms: int) -> None:
        expires_at_us = self.now_us + ttl_ms * 1000
        stands = self.kind(order.order_id) in {None, Kind.ABSENT} and 0 < ttl_ms <= 10_000
        if stands:
            self.model[order.order_id] = entry_of(order, Kind.TENTATIVE, creator=creator), expires_at_us
            self.set_timer(order)
        assert self.cache.tentative([Tentative(record_of(order), creator, expires_at_us)]) == [stands]

    @rule(order=st.sampled_from(ORDERS), creator=holders, ttl_ms=ttls_ms)
    def promote(self, order: Order, creator: bytes, ttl_ms: int) -> None:
        promoted = self.holds(order.order_id, Kind.TENTATIVE, creator)
        if promoted:
            entry, _ = self.model[order.order_id]
            self.keep(order.order_id, structs.replace(entry, kind=Kind.RECORD, token=NO_TOKEN), ttl_ms)
        assert self.cache.promote([Promotion(order.order_id, creator, ttl_ms)]) == [promoted]

    @rule(batch=st.lists(st.tuples(orders(), ttls_ms), min_size=1, max_size=4))
    def apply(self, batch: list[tuple[Order, int]]) -> None:
        expected = [self.model_apply(order, ttl_ms) for order, ttl_ms in batch]
        assert self.cache.apply([Put(record_of(order), ttl_ms) for order, ttl_ms in batch]) == expected

    def model_apply(self, order: Order, ttl_ms: int) -> Applied:
        id_ = order.order_id
        if id_ not in self.model or order.version >= self.model[id_][0].version:
            self.set_timer(order)
        if id_ not in self.model:
            return Applied.NOTHING
        entry, expires_at_us = self.model[id_]
        if entry.kind is Kind.ABSENT:
            del self.model[id_]
            return Applied.DELETED
        if entry.kind is Kind.LEASE:
            self.model[id_] = structs.replace(entry, version=max(entry.version, order.version)), expires_at_us
            return Applied.FLOOR_RAISED
        if order.version < entry.version:
            return Applied.KEPT_NEWER
        replacement = entry_of(order, entry.kind, creator=entry.token)
        if entry.kind is Kind.TENTATIVE:
            self.model[id_] = replacement, expires_at_us
        else:
            self.keep(id_, replacement, ttl_ms)
        same = replacement == structs.replace(entry, version=order.version)
        return Applied.REPLACED if same or order.version > entry.version else Applied.CONFLICT

    @rule(batch=st.lists(st.tuples(st.sampled_from(ORDERS), holders), min_size=1, max_size=4))
    def lookup(self, batch: list[tuple[Order, bytes]]) -> None:
        expected = [self.model_lookup(order.order_id, holder) for order, holder in batch]
        tokens = [holder for _, holder in batch]
        assert self.cache.lookup([order.order_id for order, _ in batch], tokens=tokens) == expected

    def model_lookup(self, order_id: str, holder: bytes) -> LookupOutcome:
        if order_id not in self.model:
            self.keep(order_id, Entry(Kind.LEASE, 0, token=holder), 2_000)
            return Granted(holder)
        entry, _ = self.model[order_id]
        return Busy() if entry.kind is Kind.LEASE else entry

    @rule(order=orders(), holder=holders, ttl_ms=ttls_ms, found=st.booleans())
    def fill(self, order: Order, holder: bytes, ttl_ms: int, found: bool) -> None:
        id_, version = order.order_id, order.version if found else 0
        goes_in = self.holds(id_, Kind.LEASE, holder) and version >= self.model[id_][0].version
        if goes_in and found:
            self.keep(id_, entry_of(order), ttl_ms)
            self.set_timer(order)
        elif goes_in:
            self.keep(id_, Entry(Kind.ABSENT, 0), min(ttl_ms, 2_000))
        elif self.holds(id_, Kind.LEASE, holder):
            del self.model[id_]
        fill = (filled if found else not_found)(order, holder, ttl_ms=ttl_ms)
        assert self.cache.fill([fill]) == [goes_in]

    @rule(batch=st.lists(st.sampled_from(ORDERS), min_size=1, max_size=4))
    def invalidate(self, batch: list[Order]) -> None:
        ids = [order.order_id for order in batch]
        assert self.cache.invalidate(ids) == sum(self.model.pop(order_id, None) is not None for order_id in ids)

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        """Every entry, and when it expires; and who has a timer."""
        ids = [order.order_id for order in ORDERS]
        assert self.cache.get(ids) == [self.model[id_][0] if id_ in self.model else None for id_ in ids]
        expiries = [kept and kept[1] for kept in map(self.harness.peek, ids)]
        assert [left is not None for left in self.cache.timer_ttl_ms(ids)] == [id_ in self.timers for id_ in ids]
        assert expiries == [self.model[id_][1] if id_ in self.model else None for id_ in ids]

    def teardown(self) -> None:
        self.harness.close()


class TestAgainstAModel(CacheMachine.TestCase):  # type: ignore[misc, valid-type]
    """Whatever is done in whatever order, the store and the model agree."""

    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
