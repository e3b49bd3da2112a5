"""A member of a group of the embedded log: joins by polling, reads what is its own, and waits for more."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from orderctl.clock import US_PER_S, Clock
from orderctl.errors import TierError
from orderctl.stores.log import Fenced, Message, Place
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.driver import Transaction
from orderctl.stores.sqlite.log_groups import Group, Registration, State, is_out
from orderctl.stores.sqlite.log_messages import read_messages
from orderctl.stores.sqlite.processes import own_identity

TICK_S: Final = 0.012
"""How often a waiting member asks whether another process has published."""
CARE_S: Final = 0.25
"""How often it looks after the other members. It renews its own session three times as often as that ends."""
_OUTSIDE: Final = 0
"""The id of nobody: of a member that is in no group yet, or no more."""


class Bell:
    """Wakes the members that wait in this process; those in others look for themselves."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._sleepers: set[threading.Event] = set()

    def listen(self) -> threading.Event:
        """An event that every ring sets."""
        event = threading.Event()
        with self._guard:
            self._sleepers.add(event)
        return event

    def leave(self, event: threading.Event) -> None:
        """Ring it no more."""
        with self._guard:
            self._sleepers.discard(event)

    def ring(self) -> None:
        """Wake everybody."""
        with self._guard:
            for event in self._sleepers:
                event.set()


class SqliteMember:
    """`Member` over a `Database`; the store that made it is closed after it.

    It keeps in mind how far it has read in each of its partitions, and nothing that it has read.
    """

    def __init__(
        self,
        database: Database,
        bell: Bell,
        clock: Clock,
        *,
        group: str,
        topics: tuple[str, ...],
        instance: str | None,
        session_s: float,
    ) -> None:
        self._database = database
        self._bell = bell
        self._clock = clock
        self._group = group
        self._topics = topics
        self._instance = instance
        self._session_us = int(session_s * US_PER_S)
        self._woken = bell.listen()
        self._closed = False
        self._member_id = _OUTSIDE
        self._known: State | None = None
        self._generation: int | None = None
        self._care_due_us = 0
        self._places: dict[Place, int] = {}
        # How far each partition was read. Who was served last stands last, so that all get their turn.
        self._positions: dict[int, int] = {}

    def poll(self, limit: int, wait_s: float) -> list[Message]:
        if self._closed:
            raise Fenced("this member has left its group")
        until_us = self._now_us() + int(wait_s * US_PER_S)
        while True:
            # Before it looks: what is published behind its back while it does is not to be slept through.
            self._woken.clear()
            messages = self._look(limit)
            if messages or not self._wait_for_news(until_us):
                return messages

    def assigned(self) -> frozenset[Place]:
        return frozenset(self._places)

    def commit(self, next_offsets: Mapping[Place, int]) -> None:
        if not next_offsets:
            return
        try:
            self._commit(next_offsets)
        except Fenced:
            # Its caller drops the batch, so all partitions that are still its own begin again at the last commit.
            self._generation = None
            self._positions.clear()
            raise

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._bell.leave(self._woken)
        member_id, self._member_id, self._generation = self._member_id, _OUTSIDE, None
        if self._instance is not None or member_id == _OUTSIDE:
            return
        # What cannot be reached cannot be told either; the session's end will.
        with suppress(TierError):
            with self._database.transaction() as transaction:
                self._group_in(transaction).leave(member_id)
            self._bell.ring()

    def _commit(self, next_offsets: Mapping[Place, int]) -> None:
        if self._generation is None or not next_offsets.keys() <= self._places.keys():
            raise Fenced
        offsets = {self._places[place]: offset for place, offset in next_offsets.items()}
        with self._database.transaction() as transaction:
            self._group_in(transaction).commit(self._member_id, self._generation, offsets, self._now_us())

    def _look(self, limit: int) -> list[Message]:
        """Take part in the group, and read what there is."""
        with self._database.snapshot() as snapshot:
            if self._is_in_order(snapshot):
                return self._fetch(snapshot, limit)
        self._attend()
        with self._database.snapshot() as snapshot:
            return self._fetch(snapshot, limit)

    def _is_in_order(self, snapshot: Transaction) -> bool:
        """Whether there is nothing to write: it is a member, its session is young, and nobody is missing."""
        if self._member_id == _OUTSIDE:
            return False
        state = self._group_in(snapshot).state()
        assert state is not None
        now_us = self._now_us()
        if state.generation == self._generation and now_us < self._care_due_us:
            return True
        members = self._group_in(snapshot).members(state.group_id)
        me = next((member for member in members if member.member_id == self._member_id), None)
        if me is None or now_us >= me.renewed_us + self._session_us // 3:
            return False
        self._care_due_us = now_us + int(CARE_S * US_PER_S)
        return not any(is_out(member, now_us) for member in members if member is not me)

    def _attend(self) -> None:
        with self._database.transaction() as transaction:
            me = Registration(
                self._member_id, self._instance, self._topics, own_identity(), self._now_us(), self._session_us
            )
            member_id = self._group_in(transaction).attend(me)
        if member_id != self._member_id:
            self._member_id, self._generation = member_id, None
            self._positions.clear()
        self._bell.ring()

    def _fetch(self, snapshot: Transaction, limit: int) -> list[Message]:
        group = self._group_in(snapshot)
        self._known = state = group.state()
        assert state is not None
        shares = {share.partition_id: share for share in group.shares(state.group_id, self._member_id)}
        self._generation = state.generation
        if self._positions.keys() != shares.keys():
            # Where it has begun to read it goes on; what is new to it begins at the group's last commit.
            kept = {id_: offset for id_, offset in self._positions.items() if id_ in shares}
            self._positions = kept | {id_: share.committed for id_, share in shares.items() if id_ not in kept}
        self._places = {share.place: id_ for id_, share in shares.items()}
        messages: list[Message] = []
        for id_ in [id_ for id_, offset in self._positions.items() if offset < shares[id_].end]:
            room = limit - len(messages)
            if room <= 0:
                break
            found = read_messages(snapshot, id_, shares[id_].place, self._positions.pop(id_), room)
            self._positions[id_] = found[-1].offset + 1 if found else shares[id_].end
            messages += found
        return messages

    def _wait_for_news(self, until_us: int) -> bool:
        """Wait until there may be something to read, or to look after; returns whether that came in time."""
        while (left_us := until_us - self._now_us()) > 0:
            if self._clock.wait(self._woken, min(TICK_S, left_us / US_PER_S)) or self._now_us() >= self._care_due_us:
                return True
            with self._database.snapshot() as snapshot:
                if self._group_in(snapshot).state() != self._known:
                    return True
        return False

    def _group_in(self, transaction: Transaction) -> Group:
        return Group(transaction, self._group, self._topics)

    def _now_us(self) -> int:
        return int(self._clock.monotonic_s() * US_PER_S)
