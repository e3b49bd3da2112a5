"""How partitions are shared out: every one, evenly, and moving no more than that asks for."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from orderctl.stores.sqlite.log_sharing import share_out

PARTITIONS = st.integers(1, 70).map(lambda count: list(range(1, count + 1)))
READERS = st.sets(st.integers(1, 12), min_size=1)


@given(PARTITIONS, READERS, st.data())
def test_every_partition_has_an_owner_and_shares_are_even(
    partitions: list[int], readers: set[int], data: st.DataObject
) -> None:
    """Whoever had them before, members that are gone among them: nobody gets two more than another."""
    owners = data.draw(st.dictionaries(st.sampled_from(partitions), st.integers(1, 12)))
    shares = share_out({"t": partitions}, {"t": readers}, owners)
    assert set(shares) == set(partitions)
    counts = Counter(shares.values())
    assert set(counts) <= readers
    sizes = [counts[reader] for reader in readers]
    assert max(sizes) - min(sizes) <= 1


@given(PARTITIONS, READERS)
def test_what_is_even_stays(partitions: list[int], readers: set[int]) -> None:
    """Shared out again with nobody new, nothing moves."""
    shares = share_out({"t": partitions}, {"t": readers}, {})
    assert share_out({"t": partitions}, {"t": readers}, shares) == shares


@given(PARTITIONS, READERS, st.integers(13, 20))
def test_a_newcomer_moves_its_own_share_and_no_more(partitions: list[int], readers: set[int], newcomer: int) -> None:
    """What changes hands goes to the newcomer."""
    before = share_out({"t": partitions}, {"t": readers}, {})
    after = share_out({"t": partitions}, {"t": readers | {newcomer}}, before)
    assert {reader for each, reader in after.items() if before[each] != reader} <= {newcomer}


@given(PARTITIONS, READERS, st.data())
def test_those_who_stay_keep_what_they_have(partitions: list[int], readers: set[int], data: st.DataObject) -> None:
    """When one leaves, its partitions are all that moves."""
    leaver = data.draw(st.sampled_from(sorted(readers)))
    before = share_out({"t": partitions}, {"t": readers}, {})
    after = share_out({"t": partitions}, {"t": readers - {leaver}}, before)
    assert all(after[each] == reader for each, reader in before.items() if reader != leaver and each in after)
    assert set(after) == (set(partitions) if len(readers) > 1 else set())


def test_topics_are_shared_out_among_those_who_read_them() -> None:
    """The odd one of a topic goes to who has less of the others; a topic that nobody reads has no owner."""
    topics = {"a": [1], "b": [2], "c": [3, 4], "d": [5]}
    shares = share_out(topics, {"a": [1, 2], "b": [1, 2], "c": [2, 3]}, {})
    assert shares == {1: 1, 2: 2, 3: 3, 4: 2}
