"""The version rule: it grows, never repeats, and stays exact in a double."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderctl import version

VERSIONS = st.integers(0, version.VERSION_MAX - 1)
EPOCHS = st.integers(0, version.EPOCH_MAX)


@given(VERSIONS, EPOCHS)
def test_it_grows_and_stays_exact(current: int, epoch: int) -> None:
    """Whatever the epoch, the next version is larger and survives a trip through a double."""
    following = version.next_version(current, epoch)
    assert following > current
    assert int(float(following)) == following <= version.VERSION_MAX
    assert version.epoch_of(following) >= epoch


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=20), st.data())
def test_no_number_is_given_twice_across_promotions(spans: list[tuple[int, bool]], data: st.DataObject) -> None:
    """Each promotion may lose the newest changes of the old primary; the numbers they had are never given out again."""
    given_out: set[int] = set()
    current, epoch = version.NEVER, 0
    for changes, promoted in spans:
        history = [current]
        for _ in range(changes):
            current = version.next_version(current, epoch)
            assert current not in given_out
            given_out.add(current)
            history.append(current)
        if promoted:
            current = data.draw(st.sampled_from(history))
            epoch += 1
    assert len(given_out) == sum(changes for changes, _ in spans)


def test_first_versions() -> None:
    """In epoch 0 people see 1, 2, 3; a raised epoch lifts the next change above all of its predecessors."""
    assert version.next_version(version.NEVER, 0) == 1
    assert version.next_version(2, 1) == 1 << 32
    assert version.next_version(1 << 32, 1) == (1 << 32) + 1


@pytest.mark.parametrize(("current", "epoch"), [(version.VERSION_MAX, 0), (0, -1), (0, version.EPOCH_MAX + 1), (-5, 0)])
def test_what_would_not_be_exact_is_refused(current: int, epoch: int) -> None:
    """Rather no version than one that two tiers would round differently."""
    with pytest.raises(OverflowError):
        version.next_version(current, epoch)
