"""How a group's members share partitions: evenly, and each keeps what it has as far as that goes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

PartitionId = int
MemberId = int


def share_out(
    topics: Mapping[str, Sequence[PartitionId]],
    readers: Mapping[str, Collection[MemberId]],
    owners: Mapping[PartitionId, MemberId],
) -> dict[PartitionId, MemberId]:
    """Whose each partition is to be, from who reads each topic and whose each was.

    Of one topic no reader gets two partitions more than another; a partition moves only where that asks for it. Readers with
    fewer partitions of the other topics come first where the number does not divide.
    """
    shares: dict[PartitionId, MemberId] = {}
    for topic in sorted(topics):
        if readers.get(topic):
            load = {reader: list(shares.values()).count(reader) for reader in readers[topic]}
            shares |= _share_one(topics[topic], load, owners)
    return shares


def _share_one(
    partitions: Sequence[PartitionId], load: Mapping[MemberId, int], owners: Mapping[PartitionId, MemberId]
) -> dict[PartitionId, MemberId]:
    held = {reader: [each for each in partitions if owners.get(each) == reader] for reader in load}
    even, odd = divmod(len(partitions), len(held))
    # The odd ones go to those who hold most, so that nothing moves that need not.
    ranked = sorted(held, key=lambda reader: (-len(held[reader]), load[reader], reader))
    quota = {reader: even + (rank < odd) for rank, reader in enumerate(ranked)}
    shares = {each: reader for reader in held for each in held[reader][: quota[reader]]}
    vacancies = [reader for reader in ranked for _ in range(quota[reader] - len(held[reader]))]
    orphans = [each for each in partitions if each not in shares]
    return shares | dict(zip(orphans, vacancies, strict=True))
