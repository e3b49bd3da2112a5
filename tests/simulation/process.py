"""A process of the simulation: real, synchronous code that stops at each call of a store, and can be brought back there.

The code runs in greenlets. Each store that it is given is a gate: a call stops the code until the search takes that step. What
the code got for its calls is its history; whoever gives it the same answers at the same times brings a new copy of it to the
same place, so that no state of a Python object has to be kept.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NotYet
from hashlib import blake2b
from itertools import count
from threading import Event
from typing import Any, Protocol, TypeVar, cast

from greenlet import GreenletExit, greenlet
from msgspec import Struct

T = TypeVar("T")


class Call(Struct, frozen=True):
    """Something that a thread is about to do to the world. One that nobody else can notice is taken at once (`is_visible`)."""

    label: str
    run: Callable[[], Any]
    is_visible: bool = True
    may_run: Callable[[], bool] = lambda: True


class Step(Struct, frozen=True):
    """What a thread got for a call, and when."""

    thread: int
    now_us: int
    value: Any = None
    error: Exception | None = None


class Program(Protocol):
    """What a process runs. It is begun anew for every copy."""

    def __call__(self, process: Process) -> None:
        """Run to the end."""
        ...


class Process:
    """One copy of a program, stopped before its next calls."""

    def __init__(self, program: Program, *, name: str, now_us: int) -> None:
        self.clock = ProcessClock(now_us)
        self.random = Counting(name)
        self._threads: list[_Thread] = []
        self._is_abandoned = False
        self._hub = greenlet.getcurrent()
        self.spawn(lambda: program(self))

    def spawn(self, run: Callable[[], Any]) -> _Thread:
        """Begin a thread; it stops before its first call."""
        thread = _Thread(run, self._hub)
        self._threads.append(thread)
        return thread

    def call(
        self,
        label: str,
        run: Callable[[], T],
        *,
        is_visible: bool = True,
        may_run: Callable[[], bool] = lambda: True,
    ) -> T:
        """Stop until the search takes this step; then what `run` returns or raises."""
        if self._is_abandoned:
            raise GreenletExit
        step: Step = self._hub.switch(Call(label, run, is_visible, may_run))
        if step.error is not None:
            raise step.error
        return cast("T", step.value)

    def settle(self) -> list[Step]:
        """Bring every thread to its next visible call or its end; returns what was taken on the way."""
        taken: list[Step] = []
        while True:
            fresh = [thread for thread in self._threads if not thread.has_begun]
            for thread in fresh:
                thread.resume(None)
            hidden = [n for n, t in enumerate(self._threads) if t.call is not None and not t.call.is_visible]
            if hidden:
                taken.append(self.take(hidden[0]))
            elif not fresh:
                return taken

    def take(self, number: int) -> Step:
        """Let a thread do its call for real."""
        call = self._threads[number].call
        assert call is not None
        try:
            step = Step(number, self.clock.now_us(), call.run())
        except Exception as error:  # noqa: BLE001 - it is the thread's to deal with
            step = Step(number, self.clock.now_us(), error=error)
        self.replay(step)
        return step

    def replay(self, step: Step) -> None:
        """Give a thread what a copy of it got before."""
        for thread in self._threads:
            if not thread.has_begun:
                thread.resume(None)
        self.clock.set(step.now_us)
        self._threads[step.thread].resume(step)

    def calls(self) -> list[tuple[int, Call]]:
        """What each thread that has not ended is about to do."""
        return [(number, thread.call) for number, thread in enumerate(self._threads) if thread.call is not None]

    @property
    def has_ended(self) -> bool:
        """Whether every thread has run to its end."""
        return all(thread.has_ended for thread in self._threads)

    @property
    def errors(self) -> list[Exception]:
        """What threads ended with and nobody took."""
        return [thread.error for thread in self._threads[:1] if thread.error is not None]

    def abandon(self) -> None:
        """Let go of this copy. What its code does at its end touches no store any more."""
        self._is_abandoned = True
        for thread in self._threads:
            thread.abandon()

    @property
    def executor(self) -> Executor:
        """Runs what it is given in a thread of this process."""
        return _Executor(self)

    def gate(self, name: str, store: Any, hidden: frozenset[str] = frozenset()) -> Any:
        """`store`, each call of which is a step. The methods in `hidden` are noticed by nobody else."""
        return _Gate(self, name, store, hidden)


class ProcessClock:
    """The time at a process's last step."""

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._now_us / 1_000_000

    def wait(self, event: Event, seconds: float) -> bool:
        raise AssertionError("nobody waits in a simulation")

    def set(self, now_us: int) -> None:
        """It is this time now."""
        self._now_us = now_us


class Counting:
    """Bytes that never come twice, and are the same in each copy of a process."""

    def __init__(self, name: str) -> None:
        self._numbers = count(1)
        self._name = name.encode()

    def __call__(self, size: int) -> bytes:
        return blake2b(self._name + next(self._numbers).to_bytes(8), digest_size=size).digest()


class _Thread:
    """A greenlet, and the call that it stands before."""

    def __init__(self, run: Callable[[], Any], hub: greenlet) -> None:
        self.call: Call | None = None
        self.has_begun = False
        self.has_ended = False
        self.value: Any = None
        self.error: Exception | None = None
        self._run = run
        self._greenlet = greenlet(self._main, hub)

    def resume(self, step: Step | None) -> None:
        self.has_begun = True
        self.call = self._greenlet.switch(step)

    def abandon(self) -> None:
        if self._greenlet:  # it has begun, and not ended
            self._greenlet.throw(GreenletExit)

    def _main(self, _first: object) -> None:
        try:
            self.value = self._run()
        except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
            self.error = error
        self.has_ended = True


class _Executor(Executor):
    def __init__(self, process: Process) -> None:
        self._process = process

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return cast("Future[T]", _Result(self._process, self._process.spawn(lambda: fn(*args, **kwargs))))


class _Result:
    """What a thread will have come to. To ask for it with a time-out is a step: by then it has ended, or has not."""

    def __init__(self, process: Process, thread: _Thread) -> None:
        self._process = process
        self._thread = thread

    def result(self, timeout: float | None = None) -> Any:
        thread = self._thread
        may_run = (lambda: thread.has_ended) if timeout is None else (lambda: True)
        if not self._process.call("wait for a thread", lambda: thread.has_ended, may_run=may_run):
            raise NotYet
        if thread.error is not None:
            raise thread.error
        return thread.value

    def done(self) -> bool:
        return self._thread.has_ended


class _Gate:
    def __init__(self, process: Process, name: str, store: Any, hidden: frozenset[str]) -> None:
        self._process = process
        self._name = name
        self._store = store
        self._hidden = hidden

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._process.call(
                f"{self._name}.{name}", lambda: method(*args, **kwargs), is_visible=name not in self._hidden
            )

        return call
