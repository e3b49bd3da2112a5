"""The group-commit batcher, over a call that the test holds back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orderctl.errors import OutcomeUnknown, TierError, TierRejected, TierUnavailable
from orderctl.web.batcher import PAUSE_RATIO, QUIET_ROUNDS, Batcher
from orderctl.web.edge import EdgeSettings
from orderctl.web.problems import Problem

PATIENCE_S = 60.0


class Store:
    """Doubles numbers, a call at a time; refuses negative ones; waits while it is held."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.sizes: list[float] = []
        self.free = threading.Event()
        self.free.set()
        self.error: Exception | None = None

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        assert self.free.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        if min(items) < 0:
            raise TierRejected("mysql")
        return [2 * item for item in items]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def make(store: Store, executor: ThreadPoolExecutor) -> Callable[..., Batcher[int, int]]:
    """Makes a batcher over the store."""

    def of(*, queue_max: int = 1000, linger_s: float = 0.05, **more: Any) -> Batcher[int, int]:
        settings = EdgeSettings(queue_max=queue_max, linger_s=linger_s)
        return Batcher(store, executor, observe=store.sizes.append, settings=settings, **more)

    return of


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, PATIENCE_S))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for happens in a thread, which sets no event of the loop's
        await asyncio.sleep(0.001)


@asynccontextmanager
async def busy(store: Store, batcher: Batcher[int, int], calls: int = 1) -> AsyncIterator[None]:
    """Inside, a call is under way; it ends with the block."""
    store.free.clear()
    first = asyncio.create_task(batcher.submit([1]))
    await until(lambda: len(store.calls) == calls)
    try:
        yield
    finally:
        store.free.set()
    assert await first == [2]


def test_what_comes_together_goes_together(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """One call, and everybody gets their own results."""

    async def main() -> None:
        batcher = make()
        results = await asyncio.gather(*(batcher.submit([i, i + 100]) for i in range(64)))
        assert results == [[2 * i, 2 * i + 200] for i in range(64)]
        assert (len(store.calls), store.sizes) == (1, [128])

    run(main())


def test_newcomers_wait_for_the_call_under_way(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """They make the next call together, in their order."""

    async def main() -> None:
        batcher = make()
        async with busy(store, batcher):
            waiting = [asyncio.create_task(batcher.submit([i])) for i in range(5)]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert store.calls == [[1], [0, 1, 2, 3, 4]]

    run(main())


def test_a_call_carries_so_much_and_splits_nobody(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """The items of one submission stay in one call."""

    async def main() -> None:
        batcher = make(batch_max=4)
        await asyncio.gather(batcher.submit([1, 2, 3]), batcher.submit([4, 5]), batcher.submit([6]))
        assert store.calls == [[1, 2, 3], [4, 5, 6]]
        with pytest.raises(ValueError, match="5 items do not fit"):
            await batcher.submit([1, 2, 3, 4, 5])

    run(main())


def test_nothing_is_answered_with_nothing(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """No call is made for it."""

    async def main() -> None:
        assert await make().submit([]) == []
        assert store.calls == []

    run(main())


def test_lanes_call_side_by_side(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """As many calls as lanes, and no more."""

    async def main() -> None:
        batcher = make(lanes=2)
        async with busy(store, batcher):
            second = asyncio.create_task(batcher.submit([2]))
            await until(lambda: len(store.calls) == 2)
            third = asyncio.create_task(batcher.submit([3]))
            await asyncio.sleep(0.06)
            assert len(store.calls) == 2
        await asyncio.gather(second, third)
        assert store.calls == [[1], [2], [3]]
        assert await asyncio.gather(*(batcher.submit([i]) for i in range(9))) == [[2 * i] for i in range(9)]
        assert len(store.calls) == 4

    run(main())


def test_a_whole_call_does_not_wait_for_another(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """Where nothing more could join it; what could waits, so that a crowd is not cut up."""

    async def main() -> None:
        batcher = make(batch_max=4, lanes_more=1)
        async with busy(store, batcher):
            whole = asyncio.create_task(batcher.submit([1, 2, 3, 4]))
            await until(lambda: len(store.calls) == 2)
            others = [asyncio.create_task(batcher.submit([i])) for i in range(3)]
            await asyncio.sleep(0.06)
            assert len(store.calls) == 2
        await asyncio.gather(whole, *others)
        assert store.calls == [[1], [1, 2, 3, 4], [0, 1, 2]]

    run(main())


def test_too_much_waiting_is_refused(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """503, and those who wait are served."""

    async def main() -> None:
        batcher = make(queue_max=3)
        async with busy(store, batcher):
            waiting = asyncio.create_task(batcher.submit([1, 2, 3]))
            await asyncio.sleep(0)
            with pytest.raises(Problem, match="503 unavailable: too many"):
                await batcher.submit([4])
        assert await waiting == [2, 4, 6]

    run(main())


def test_a_rejected_item_concerns_its_own_submission_only(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """The others are called again alone, and get their results."""

    async def main() -> None:
        batcher = make()
        good, bad, last = await asyncio.gather(
            batcher.submit([1]), batcher.submit([2, -1]), batcher.submit([3]), return_exceptions=True
        )
        assert (good, last) == ([2], [6])
        assert isinstance(bad, TierRejected)
        assert store.calls == [[1, 2, -1, 3], [1], [2, -1], [3]]

    run(main())


@pytest.mark.parametrize("error", [TierUnavailable("mysql"), OutcomeUnknown("mysql")])
def test_a_tier_that_is_away_concerns_everybody(
    store: Store, make: Callable[..., Batcher[int, int]], error: TierError
) -> None:
    """Nothing is called twice: the outcome of the first may be unknown."""

    async def main() -> None:
        store.error = error
        batcher = make()
        results = await asyncio.gather(*(batcher.submit([i]) for i in range(3)), return_exceptions=True)
        assert results == [error] * 3
        assert len(store.calls) == 1

    run(main())


def test_a_fault_of_ours_reaches_who_meets_it(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """An exception that nobody expected is raised to the submission, and the batcher goes on."""

    async def main() -> None:
        store.error = KeyError("x")
        batcher = make()
        with pytest.raises(KeyError):
            await batcher.submit([1])
        store.error = None
        assert await batcher.submit([1]) == [2]

    run(main())


def test_a_client_that_leaves_harms_nobody(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """One that leaves in the queue is left out; one that leaves during the call loses only its answer."""

    async def main() -> None:
        batcher = make()
        async with busy(store, batcher):
            stays, leaves = (asyncio.create_task(batcher.submit([i])) for i in (5, 6))
            await asyncio.sleep(0)
            leaves.cancel()
        assert await stays == [10]
        store.free.clear()
        leaves, stays = (asyncio.create_task(batcher.submit([i])) for i in (7, 8))
        await until(lambda: len(store.calls) == 3)
        leaves.cancel()
        store.free.set()
        assert await stays == [16]
        assert store.calls == [[1], [5], [7, 8]]

    run(main())


def test_closing_waits_for_what_was_taken(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """What was submitted before is answered, what comes after is refused."""

    async def main() -> None:
        batcher = make()
        async with busy(store, batcher):
            waiting = asyncio.create_task(batcher.submit([2]))
            await asyncio.sleep(0)
            closing = asyncio.create_task(batcher.close())
            await asyncio.sleep(0)
            assert not closing.done()
            with pytest.raises(Problem, match="stopping"):
                await batcher.submit([3])
        await closing
        assert waiting.done()
        assert await waiting == [4]

    run(main())


def test_a_patient_batcher_waits_for_a_crowd(store: Store, make: Callable[..., Batcher[int, int]]) -> None:
    """Where others came during a call, the next call waits for those who still come; a lone request never waits."""

    async def main() -> None:
        pause_s = 3.0  # nobody who is on his way is kept from coming for so long
        batcher = make(is_patient=True, linger_s=pause_s / PAUSE_RATIO)
        loop = asyncio.get_running_loop()
        async with busy(store, batcher):
            waiting = [asyncio.create_task(batcher.submit([2]))]
            await asyncio.sleep(0)
        for i in range(3, 6):  # each comes after more rounds than the first call waited for
            for _ in range(2 * QUIET_ROUNDS):
                await asyncio.sleep(0)
            waiting.append(asyncio.create_task(batcher.submit([i])))
        await asyncio.gather(*waiting)
        assert store.calls == [[1], [2, 3, 4, 5]]
        started_s = loop.time()
        await batcher.submit([9])
        assert loop.time() - started_s < pause_s

    run(main())


@pytest.mark.parametrize(("lanes", "lanes_more"), [(2, 0), (1, 1), (2, 2)])
def test_no_submission_is_left_behind(
    store: Store, make: Callable[..., Batcher[int, int]], lanes: int, lanes_more: int
) -> None:
    """Submissions at every moment of a lane's life are answered."""

    async def main() -> None:
        batcher = make(lanes=lanes, lanes_more=lanes_more, batch_max=3)

        async def client(rounds: int) -> None:
            for i in range(rounds):
                assert await batcher.submit([i]) == [2 * i]
                for _ in range(i % 7):
                    await asyncio.sleep(0)

        await asyncio.gather(*(client(40) for _ in range(10)))
        assert sum(map(len, store.calls)) == 400

    run(main())
