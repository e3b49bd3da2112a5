"""Moving a group's offsets on a Kafka that does not answer: an error, in the time that questions are given."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from orderctl.clock import SystemClock
from orderctl.errors import TierUnavailable
from orderctl.stores.kafka_driver import KafkaCluster
from orderctl.stores.kafka_seek import is_group_active, seek_group
from orderctl.stores.log import Place

WITHIN_S = 30.0
"""Less than the driver would wait by itself, however busy the machine is."""


@pytest.fixture
def silent() -> Iterator[KafkaCluster]:
    """A broker that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield KafkaCluster(brokers=(f"127.0.0.1:{listener.getsockname()[1]}",), answer_s=1.0)


def test_whether_anybody_reads_is_not_known(silent: KafkaCluster) -> None:
    """Not yes and not no."""
    began_s = time.monotonic()
    with pytest.raises(TierUnavailable):
        is_group_active(silent, "group", SystemClock())
    assert time.monotonic() - began_s < WITHIN_S


def test_a_group_is_not_moved(silent: KafkaCluster) -> None:
    """The driver would wait for 46 s with a commit under way."""
    began_s = time.monotonic()
    with pytest.raises(TierUnavailable):
        seek_group(silent, "group", {Place("topic", 0): 1}, SystemClock())
    assert time.monotonic() - began_s < WITHIN_S
