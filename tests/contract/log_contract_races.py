"""What the log promises while many publish and many read at the same time."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from functools import partial
from threading import Lock

from orderctl.stores.log import Fenced, Message
from tests.contract.hot_harness import at_once
from tests.contract.log_harness import PATIENCE_S, Stage, behind, values

PRODUCERS, MEMBERS, PARTITIONS = 4, 4, 6
ROUNDS, BATCH = 10, 30


class RaceContract:
    """Threads, each with a store of its own."""

    def test_four_publish_and_four_read(self, stage: Stage) -> None:
        """Every message is read, and of one producer's messages in one partition the first occurrences are in order."""
        stage.make(PARTITIONS)
        stores = [stage.harness.open() for _ in range(PRODUCERS)]
        members = [stage.join() for _ in range(MEMBERS)]
        expected = {f"{number}-{serial}" for number in range(PRODUCERS) for serial in range(ROUNDS * BATCH)}
        guard = Lock()
        seen: list[Message] = []
        missing = set(expected)

        def publish(number: int) -> None:
            for round_ in range(ROUNDS):
                serials = range(BATCH * round_, BATCH * (round_ + 1))
                stores[number].publish(
                    [each for serial in serials for each in stage.outgoing(serial % PARTITIONS, [f"{number}-{serial}"])]
                )

        def read(number: int) -> None:
            until_s = time.monotonic() + PATIENCE_S
            while missing:
                batch = members[number].poll(50, 0.05)
                with guard:
                    # Before the commit, after which another member may read on.
                    seen.extend(batch)
                    missing.difference_update(values(batch))
                with suppress(Fenced):
                    members[number].commit(behind(batch))
                assert time.monotonic() < until_s, f"{len(missing)} never came"

        at_once(
            [*(partial(publish, number) for number in range(PRODUCERS)), *(partial(read, n) for n in range(MEMBERS))]
        )
        order = defaultdict[tuple[str, int], list[int]](list)
        for message in seen:
            producer, serial = message.value.decode().split("-")
            if int(serial) not in (line := order[producer, message.place.partition]):
                line.append(int(serial))
        assert sum(map(len, order.values())) == len(expected)
        assert all(line == sorted(line) for line in order.values())

    def test_a_group_settles_after_everybody_joined_at_once(self, stage: Stage) -> None:
        """No partition has two owners then, and none has no owner."""
        stage.make(PARTITIONS)
        members = [stage.join() for _ in range(MEMBERS)]
        at_once([partial(member.poll, 1, 0.1) for member in members])
        stage.settled(PARTITIONS, *members)
