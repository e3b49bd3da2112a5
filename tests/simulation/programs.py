"""What the processes of the simulation run: the services as they are, over the simulation's stores."""

from __future__ import annotations

from functools import partial
from typing import cast

from prometheus_client import CollectorRegistry

from orderctl.metrics import Metrics
from orderctl.order import Change, NewOrder, Status
from orderctl.services.answers import Found, Loading, Missing, Settled, Stored
from orderctl.services.archiving import ArchiverSettings, Mover
from orderctl.services.askers import Lookup
from orderctl.services.cache_sync import CacheSync
from orderctl.services.command import CommandService, CommandSettings, CreateRequest
from orderctl.services.near import NearCache
from orderctl.services.pump import Pump
from orderctl.services.query import QueryService, QuerySettings
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.cache import Fill
from orderctl.stores.log import CHANGES, Place
from orderctl.stores.record import Record, record_of
from tests.services.tiers import Inline
from tests.simulation.process import Process, Program
from tests.simulation.protections import LooksOnce, Rash
from tests.simulation.search import QUIET, Violation
from tests.simulation.stores import Stores
from tests.simulation.world import World

METRICS = Metrics(CollectorRegistry())
PLACE = Place(CHANGES, 0)


def changing(world: World, *changes: Change) -> Program:
    """A command server that is asked for one change after the other."""

    def program(process: Process) -> None:
        service = command_service(process, world)
        for change in changes:
            (answer,) = service.change([change])
            if isinstance(answer, Record):
                told = partial(acknowledge, world, change.order_id, answer.version)
                process.call("told", told, is_visible=False)

    return program


def acknowledge(world: World, order_id: str, version: int) -> None:
    """Somebody was told that the order has this version."""
    world.facts[order_id] = max(version, world.facts.get(order_id, 0))


def command_service(process: Process, world: World) -> CommandService:
    stores = Stores(process, world)
    return CommandService(
        stores.hot,
        stores.cache,
        stores.archive,
        stores.late,
        clock=process.clock,
        random=process.random,
        executor=process.executor if world.protections.answered_before_commit else Rash(process.executor),
        metrics=METRICS,
        settings=CommandSettings(),
    )


def following(world: World, rounds: int) -> Program:
    """Cdc and cache-sync: from the feed to the log, and from there to the cache; the last round comes when all is quiet."""

    def program(process: Process) -> None:
        stores = Stores(process, world)
        pump = Pump(stores.feed, stores.log, partition=0, groups=world.groups, clock=process.clock)
        sync = cache_sync(process, world, stores)
        sync.take(PLACE, 0)
        reached = 0
        for left in reversed(range(rounds + 1)):
            if left == 0:
                process.call(QUIET, lambda: None)
            pump.step(0)
            messages = stores.log.read(PLACE, reached, 100)
            if messages:
                reached = sync.apply(messages)[PLACE]
            sync.watch()

    return program


def cache_sync(process: Process, world: World, stores: Stores) -> CacheSync:
    return CacheSync(
        stores.cache, stores.log, groups=world.groups, clock=process.clock, metrics=METRICS, record_ttl_ms=3_600_000
    )


def reading(
    world: World, order_id: str, *, times: int = 2, is_near: bool = False, reads_first: bool = False
) -> Program:
    """A query server that is asked for one order again and again: the order is there, and never goes backwards.

    With `is_near` it keeps copies in process memory. With `reads_first` it reads before it leases, as it does for many orders.
    """

    def program(process: Process) -> None:
        service = query_service(process, world, is_near=is_near, reads_first=reads_first)
        seen = 0
        for _ in range(times):
            known = process.call("ask", lambda: world.facts.get(order_id, 0), is_visible=False)
            answer = look_up(service, order_id)
            if isinstance(answer, Missing) and known:
                raise Violation("an order was not found that somebody had been told of")
            if isinstance(answer, Found):
                if answer.version < seen:
                    raise Violation(f"a reader saw version {seen}, and then {answer.version}")
                seen = answer.version

    return program


def reading_own_write(world: World, order_id: str) -> Program:
    """A reader who asks for at least the version that somebody was told of."""

    def program(process: Process) -> None:
        service = query_service(process, world, is_near=False)
        known = process.call("ask", lambda: world.facts.get(order_id, 0))
        answer = look_up(service, order_id, min_version=known)
        if isinstance(answer, Found) and answer.version < known:
            raise Violation(f"asked for version {known}, got {answer.version}")
        if isinstance(answer, Missing):
            raise Violation("an order was not found that somebody had been told of")

    return program


def look_up(service: QueryService, order_id: str, *, min_version: int = 0) -> Settled:
    (answer,) = service.look_up([Lookup(order_id, min_version=min_version)])
    return answer.answer.result(0) if isinstance(answer, Loading) else answer


def query_service(process: Process, world: World, *, is_near: bool, reads_first: bool = False) -> QueryService:
    stores = Stores(process, world)
    near = NearCache(
        groups=world.groups, orders_max=10, bytes_max=1 << 20, open_ttl_s=0.05, clock=process.clock, metrics=METRICS
    )
    if is_near:
        near.turn_on(float("inf"))
    return QueryService(
        stores.hot,
        stores.cache,
        stores.archive if world.protections.second_look else cast("ArchiveStore", LooksOnce(stores.archive)),
        near,
        clock=process.clock,
        random=process.random if world.protections.unique_token else lambda size: b"\x01" * size,
        executor=Inline(),
        metrics=METRICS,
        settings=QuerySettings(read_first_from=1) if reads_first else QuerySettings(),
    )


def creating(world: World, merchant_id: str, new: NewOrder) -> Program:
    """A command server that is asked to create an order; its tentative is on its way by itself."""

    def program(process: Process) -> None:
        service = command_service(process, world)
        (answer,) = service.create([CreateRequest(merchant_id, new)])
        if isinstance(answer, Stored):
            told = partial(acknowledge, world, answer.record.order_id, answer.record.version)
            process.call("told", told, is_visible=False)

    return program


def created(process: Process, world: World) -> str:
    """The order that is created, as soon as it can be seen: the log tells of it before its creator hears the answer."""
    return process.call("hear of the order", lambda: world.created, may_run=lambda: bool(world.created))


def changing_created(world: World, *statuses: Status) -> Program:
    """As `changing`, for the order that will be created."""

    def program(process: Process) -> None:
        order_id = created(process, world)
        changing(world, *(Change(order_id, status) for status in statuses))(process)

    return program


def reading_created(world: World) -> Program:
    """As `reading`, for the order that will be created."""

    def program(process: Process) -> None:
        reading(world, created(process, world), times=1)(process)

    return program


def repeating(world: World, *, but_the_last: bool = False) -> Program:
    """A second cache-sync, which takes the partition for its own from its beginning on: it applies an event at a time, all again.

    Or, as a replay does that ends somewhere, all but the last.
    """

    def program(process: Process) -> None:
        stores = Stores(process, world)
        pump = Pump(stores.feed, stores.log, partition=0, groups=world.groups, clock=process.clock)
        sync = cache_sync(process, world, stores)
        sync.take(PLACE, 0)
        process.call("wait for the last change", lambda: None, may_run=lambda: is_final(world))
        pump.step(0)
        messages = stores.log.read(PLACE, 0, 100)
        for message in messages[: len(messages) - but_the_last]:
            sync.apply([message])

    return program


def is_final(world: World) -> bool:
    """Whether the last change of a scenario was made."""
    return bool(world.hot.finals(None, after=None, limit=1)) and not world.invisible


def fill(world: World, order_id: str, token: bytes) -> None:
    """The order's record, as MySQL has it, is in the cache."""
    (order,) = world.hot.load([order_id])
    assert order is not None
    assert world.cache.fill([Fill(order_id, token, record_of(order), 3_600_000)]) == [True]


def archiving(world: World, steps: int = 3) -> Program:
    """The archiver, from when the order is final."""

    def program(process: Process) -> None:
        stores = Stores(process, world)
        mover = Mover(
            stores.hot, stores.archive, clock=process.clock, metrics=METRICS, settings=ArchiverSettings(settle_s=0)
        )
        process.call("wait for the last change", lambda: None, may_run=lambda: is_final(world))
        for _ in range(steps):
            mover.step(None)

    return program


def evicting(world: World, order_id: str) -> Program:
    """Redis evicts the order's entry."""
    return lambda process: process.call("evict", lambda: world.node.evict(order_id))


def going_back(world: World) -> Program:
    """A replica that lagged takes over: the cache is what it was at some moment before."""

    def program(process: Process) -> None:
        content = process.call("replicate the cache", world.node.content)
        process.call("fail over to the replica", lambda: world.node.put_back(content))

    return program


def ageing(world: World, seconds: float) -> Program:
    """Time passes at once."""
    return lambda process: process.call(f"{seconds:g} s pass", lambda: world.clock.advance(seconds))
