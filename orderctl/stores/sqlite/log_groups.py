"""Who is in a group of the embedded log and whose each partition is: what Kafka's group coordinator does, by whoever notices.

There is no coordinator process. A member that finds somebody missing, new or late settles the group itself, in one transaction.
A member is out when it has not renewed its session in time, and at once when its process is known to be gone: all are on one
machine, and nobody need wait for what the kernel can tell. One with an instance name is waited for until the session's end,
since it may well be back under its name by then.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from orderctl.contracts import named_queries
from orderctl.errors import TierRejected
from orderctl.stores.log import Fenced, GroupActive, Place
from orderctl.stores.sqlite.driver import Transaction
from orderctl.stores.sqlite.log_sharing import MemberId, PartitionId, share_out
from orderctl.stores.sqlite.processes import is_gone
from orderctl.stores.sqlite.schema import LOG

QUERIES = "sqlite/log_queries.sql"

_decode_topics = msgspec.json.Decoder(tuple[str, ...]).decode


class Registration(Struct, frozen=True):
    """A member as its group knows it. Times are microseconds of the machine's monotonic clock."""

    member_id: MemberId
    instance: str | None
    topics: tuple[str, ...]
    process: str
    renewed_us: int
    session_us: int

    def is_late(self, now_us: int) -> bool:
        """Whether its session is over. A time that lies ahead is another run of the machine's, and that member is gone."""
        return not self.renewed_us <= now_us < self.renewed_us + self.session_us


class State(Struct, frozen=True):
    """A group at one moment. `published` counts what was ever published in the topics that it was asked for with."""

    group_id: int
    generation: int
    published: int


class Share(Struct, frozen=True):
    """A partition of a member's: where its group goes on, and where the partition ends."""

    partition_id: PartitionId
    place: Place
    committed: int
    end: int


class Group:
    """One group within one transaction or snapshot."""

    def __init__(self, transaction: Transaction, name: str, topics: tuple[str, ...]) -> None:
        self._transaction = transaction
        self._name = name
        self._topics = topics
        self._sql = named_queries("sql", QUERIES)

    def state(self) -> State | None:
        """How the group stands; None where nobody ever joined it."""
        parameters = {"group": self._name, "topics": msgspec.json.encode(self._topics).decode()}
        row = self._transaction.row(self._sql["group_state"], parameters)
        return None if row is None else State(row[0], row[1], row[2] or 0)

    def members(self, group_id: int) -> list[Registration]:
        """All members, those that joined first first."""
        rows = self._transaction.rows(self._sql["members"], {"group_id": group_id})
        return [Registration(row[0], row[1], _decode_topics(row[2]), *row[3:]) for row in rows]

    def shares(self, group_id: int, member_id: MemberId) -> list[Share]:
        """A member's partitions."""
        rows = self._transaction.rows(self._sql["shares"], {"group_id": group_id, "member_id": member_id})
        return [Share(row[0], Place(row[1], row[2]), row[3], row[4]) for row in rows]

    def attend(self, me: Registration) -> MemberId:
        """Renew a member, or let it in where `member_id` is none of the group's; put those out who are; returns its id.

        Raises:
            Fenced: another member has come under this one's instance name.
            TierRejected: it reads a topic that is not there.

        """
        group_id = self._founded()
        members = self.members(group_id)
        out = [other for other in members if other.member_id != me.member_id and is_out(other, me.renewed_us)]
        others = [other for other in members if other not in out]
        known = next((other for other in others if other.member_id == me.member_id), None)
        if known is not None:
            self._transaction.rows(self._sql["renew_member"], {"member_id": me.member_id, "now_us": me.renewed_us})
            changed = bool(out)
        else:
            predecessor = next((other for other in members if me.instance and other.instance == me.instance), None)
            out = [other for other in out if other != predecessor]
            me = self._admit(group_id, me, predecessor)
            changed = predecessor is None or predecessor.topics != me.topics or bool(out)
        for other in out:
            self._transaction.rows(self._sql["remove_member"], {"member_id": other.member_id})
        if changed:
            self._rebalance(group_id)
        return me.member_id

    def leave(self, member_id: MemberId) -> None:
        """Take a member out, and give its partitions to the others."""
        state = self.state()
        if state is not None and member_id in {member.member_id for member in self.members(state.group_id)}:
            self._transaction.rows(self._sql["remove_member"], {"member_id": member_id})
            self._rebalance(state.group_id)

    def commit(
        self, member_id: MemberId, generation: int, next_offsets: Mapping[PartitionId, int], now_us: int
    ) -> None:
        """Keep where the group goes on, and renew the member.

        Raises:
            Fenced: it is no longer a member, or of a past generation.
            TierRejected: a partition does not reach so far.

        """
        state = self.state()
        if state is None or state.generation != generation:
            raise Fenced
        if member_id not in {member.member_id for member in self.members(state.group_id)}:
            raise Fenced
        self._keep(state.group_id, next_offsets)
        self._transaction.rows(self._sql["renew_member"], {"member_id": member_id, "now_us": now_us})

    def is_active(self, now_us: int) -> bool:
        """Whether it has a member that somebody waits for."""
        state = self.state()
        return state is not None and any(not is_out(member, now_us) for member in self.members(state.group_id))

    def seek(self, next_offsets: Mapping[PartitionId, int], now_us: int) -> None:
        """Keep where the group goes on, for whoever joins next.

        Raises:
            GroupActive: it has members.
            TierRejected: a partition does not reach so far.

        """
        if self.is_active(now_us):
            raise GroupActive(self._name)
        self._keep(self._founded(), next_offsets)

    def _keep(self, group_id: int, next_offsets: Mapping[PartitionId, int]) -> None:
        for partition_id, offset in next_offsets.items():
            parameters = {"group_id": group_id, "partition_id": partition_id, "next_offset": offset}
            if self._transaction.row(self._sql["commit_offset"], parameters) is None:
                raise TierRejected(LOG.tier, f"no offset {offset} to go on from in partition {partition_id}")

    def _founded(self) -> int:
        state = self.state()
        if state is None:
            self._transaction.rows(self._sql["make_group"], {"group": self._name})
            state = self.state()
        assert state is not None
        return state.group_id

    def _admit(self, group_id: int, me: Registration, predecessor: Registration | None) -> Registration:
        """Let a member in, in the place of the one that had its instance name."""
        if predecessor is not None:
            if me.member_id:
                raise Fenced(f"another member of {self._name} has come under the name {me.instance}")
            self._transaction.rows(self._sql["remove_member"], {"member_id": predecessor.member_id})
        row = self._transaction.row(
            self._sql["add_member"],
            msgspec.structs.asdict(me) | {"group_id": group_id, "topics": msgspec.json.encode(me.topics).decode()},
        )
        assert row is not None
        if predecessor is not None:
            # Nothing changes hands, so nobody else is disturbed; the predecessor is known by an id that is in no list.
            ids = {"group_id": group_id, "member_id": predecessor.member_id, "heir_id": row[0]}
            self._transaction.rows(self._sql["hand_over"], ids)
        return msgspec.structs.replace(me, member_id=row[0])

    def _rebalance(self, group_id: int) -> None:
        members = self.members(group_id)
        names = sorted({topic for member in members for topic in member.topics})
        owners: dict[PartitionId, MemberId] = dict(
            self._transaction.rows(self._sql["assignments"], {"group_id": group_id})
        )
        shares = share_out(
            {name: self._partitions(name) for name in names},
            {name: [member.member_id for member in members if name in member.topics] for name in names},
            owners,
        )
        self._transaction.rows(self._sql["clear_assignments"], {"group_id": group_id})
        for partition_id, member_id in shares.items():
            ids = {"group_id": group_id, "partition_id": partition_id, "member_id": member_id}
            self._transaction.rows(self._sql["assign"], ids)
        self._transaction.rows(self._sql["raise_generation"], {"group_id": group_id})

    def _partitions(self, topic: str) -> list[PartitionId]:
        rows = self._transaction.rows(self._sql["partitions_of_topic"], {"topic": topic})
        if not rows:
            raise TierRejected(LOG.tier, f"there is no topic {topic}")
        return [partition_id for (partition_id,) in rows]


def is_out(member: Registration, now_us: int) -> bool:
    """Whether nobody need wait for it any more."""
    return member.is_late(now_us) or (member.instance is None and is_gone(member.process))
