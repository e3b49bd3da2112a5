"""Group commit: the requests in flight become one call of a store, as a database's log makes one write of many commits.

While a call runs, newcomers queue, and the next call takes them all. A call starts once the event loop has gone round without
bringing anything new, so a lone request does not wait, and requests that arrive together go together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from orderctl.errors import OutcomeUnknown, TierUnavailable
from orderctl.web.edge import ITEMS_MAX, EdgeSettings
from orderctl.web.problems import UNAVAILABLE, Problem

T = TypeVar("T")
R = TypeVar("R")

QUIET_ROUNDS = 12
"""A request needs about this many rounds of the event loop from its socket to here; one that is on its way is waited for."""
PAUSE_RATIO = 1 / 8
"""The part of `linger_s` without a newcomer after which a crowd is taken to have come whole."""


class _Submission(Generic[T, R]):
    """The items of one request, and where their results go."""

    __slots__ = ("items", "results")

    def __init__(self, items: Sequence[T], results: asyncio.Future[list[R]]) -> None:
        self.items = items
        self.results = results


class Batcher(Generic[T, R]):
    """Turns submissions into calls of `run`, at most `lanes` at a time, and `lanes_more` while a whole call's worth waits.

    The items of a submission stay together and in their order. `run` returns a result for each item; what it raises is the
    answer of whoever it concerns: an unreachable tier concerns all in the call, anything else is found out by calling again
    for each submission alone, so that nobody's answer depends on another's order.

    `observe` is told how many items each call carried. A patient batcher, for calls that cost a commit each, waits for a
    crowd: where requests came during the last call, the next one starts at a pause in their coming, after `linger_s` at the
    latest.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], list[R]],
        executor: Executor,
        *,
        observe: Callable[[float], None],
        settings: EdgeSettings,
        batch_max: int = ITEMS_MAX,
        lanes: int = 1,
        lanes_more: int = 0,
        is_patient: bool = False,
    ) -> None:
        self._run = run
        self._executor = executor
        self._observe = observe
        self._batch_max = batch_max
        self._queue_max = settings.queue_max
        self._linger_s = settings.linger_s if is_patient else settings.linger_s * PAUSE_RATIO
        self._pause_s = settings.linger_s * PAUSE_RATIO if is_patient else 0.0
        self._lanes = lanes
        self._lanes_more = lanes_more
        self._queue: deque[_Submission[T, R]] = deque()
        self._queued = 0
        self._lane_tasks: set[asyncio.Task[None]] = set()
        self._lanes_busy = 0
        self._is_collecting = False
        self._is_closed = False

    async def submit(self, items: Sequence[T]) -> list[R]:
        """The results of `items`, which go in one call.

        Raises:
            Problem: 503; too much is waiting already, or the batcher is closed.
            TierError: as `run` raised it.

        """
        if not items:
            return []
        if len(items) > self._batch_max:
            raise ValueError(f"{len(items)} items do not fit into a call of {self._batch_max}")
        if self._is_closed or self._queued + len(items) > self._queue_max:
            why = "the server is stopping" if self._is_closed else "too many orders are waiting"
            raise Problem(UNAVAILABLE, f"{why}; ask again")
        submission = _Submission[T, R](items, asyncio.get_running_loop().create_future())
        self._queue.append(submission)
        self._queued += len(items)
        self._start_lane()
        return await submission.results

    async def close(self) -> None:
        """Take nothing more, and wait for what was taken."""
        self._is_closed = True
        while self._lane_tasks:
            await asyncio.wait(self._lane_tasks)

    def _start_lane(self) -> None:
        if self._queue and not self._is_collecting and self._lanes_busy < self._lanes_wanted():
            self._lanes_busy += 1
            task = asyncio.get_running_loop().create_task(self._lane())
            self._lane_tasks.add(task)
            task.add_done_callback(self._lane_tasks.discard)

    def _lanes_wanted(self) -> int:
        return self._lanes + (self._lanes_more if self._queued >= self._batch_max else 0)

    async def _lane(self) -> None:
        """Collect and call until nothing waits. One lane collects at a time, so that two do not share one call's worth."""
        quiet_s = 0.0
        try:
            while self._queue and not self._is_collecting and self._lanes_busy <= self._lanes_wanted():
                self._is_collecting = True
                await self._linger(quiet_s)
                batch = self._take()
                self._is_collecting = False
                self._start_lane()
                await self._call(batch)
                quiet_s = self._pause_s  # whoever queues now came during a call: there is a crowd
        finally:
            self._lanes_busy -= 1

    async def _linger(self, quiet_s: float) -> None:
        """Wait until a few rounds, and `quiet_s`, have brought nothing new; at most `linger_s`."""
        loop = asyncio.get_running_loop()
        began_s = changed_s = loop.time()
        quiet_rounds, seen = 0, self._queued
        while self._queued < self._batch_max and (now_s := loop.time()) < began_s + self._linger_s:
            if self._queued != seen:
                quiet_rounds, seen, changed_s = 0, self._queued, now_s
            if quiet_rounds >= QUIET_ROUNDS and now_s >= changed_s + quiet_s:
                return
            quiet_rounds += 1
            await asyncio.sleep(0 if quiet_rounds < QUIET_ROUNDS else quiet_s / 4)

    def _take(self) -> list[_Submission[T, R]]:
        """As many submissions as fit into one call, without those whose client has gone."""
        batch: list[_Submission[T, R]] = []
        size = 0
        while self._queue and size + len(self._queue[0].items) <= self._batch_max:
            submission = self._queue.popleft()
            self._queued -= len(submission.items)
            if not submission.results.done():
                batch.append(submission)
                size += len(submission.items)
        return batch

    async def _call(self, batch: Sequence[_Submission[T, R]]) -> None:
        if not batch:
            return
        items = [item for submission in batch for item in submission.items]
        self._observe(len(items))
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._executor, self._run, items)
        except (TierUnavailable, OutcomeUnknown) as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - it is raised again to the one whom it concerns
            if len(batch) == 1:
                _fail(batch, error)
            else:
                for submission in batch:
                    await self._call([submission])
        else:
            _deliver(batch, results)


def _deliver(batch: Sequence[_Submission[T, R]], results: Sequence[R]) -> None:
    start = 0
    for submission in batch:
        end = start + len(submission.items)
        if not submission.results.done():
            submission.results.set_result(list(results[start:end]))
        start = end


def _fail(batch: Sequence[_Submission[T, R]], error: Exception) -> None:
    for submission in batch:
        if not submission.results.done():
            submission.results.set_exception(error)
