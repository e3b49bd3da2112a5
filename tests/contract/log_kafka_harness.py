"""`LogHarness` over Kafka: a running broker, clients as if in processes of their own, and time that really passes."""

from __future__ import annotations

import threading
import time

from confluent_kafka.admin import AdminClient
from msgspec import structs

from orderctl.clock import SystemClock
from orderctl.stores.kafka import KafkaLogStore
from orderctl.stores.kafka_driver import KafkaCluster, client_config
from orderctl.stores.kafka_member import KafkaMember
from orderctl.stores.log import Member
from tests.contract.log_harness import PATIENCE_S

SESSION_S = 10.0
"""So long the machine may keep everybody from running, and nobody is put out of a group for it."""
SILENCE_S = 6.0
"""The same for the broker's word to a tail."""


class KafkaLogHarness:
    """The broker is everybody's, so it is not restarted here; every connection to it is. A test has topics of its own."""

    session_s = SESSION_S
    silence_s = SILENCE_S

    def __init__(self, brokers: tuple[str, ...]) -> None:
        self.cluster = KafkaCluster(brokers=brokers, session_s=SESSION_S, hang_s=SESSION_S)
        self._opened: list[KafkaLogStore] = []

    def open(self, *, session_s: float | None = None) -> KafkaLogStore:
        session_s = session_s or SESSION_S
        cluster = structs.replace(self.cluster, session_s=session_s, hang_s=session_s)
        store = KafkaLogStore(cluster, clock=SystemClock())
        self._opened.append(store)
        return store

    def restart(self) -> None:
        for store in self._opened:
            store.close()
        self._opened.clear()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def pass_time(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    def lose(self, member: Member) -> None:
        """Nobody polls it from here on: wait until its group does not know it any more, by the broker's own word."""
        assert isinstance(member, KafkaMember)
        until_s = time.monotonic() + PATIENCE_S
        group = str(member._config["group.id"])
        with AdminClient(client_config(self.cluster)) as admin:
            while True:
                [description] = admin.describe_consumer_groups([group], request_timeout=5).values()
                if member._known_as not in {each.member_id for each in description.result(10).members}:
                    return
                assert time.monotonic() < until_s, "it is still a member"
                self.pass_time(0.1)

    def compact(self, topic: str) -> None:
        """The broker's cleaner passes by when it likes to."""

    def close(self) -> None:
        """Close what was opened."""
        self.restart()
