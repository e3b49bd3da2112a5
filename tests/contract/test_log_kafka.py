"""The log's contract, kept by Kafka."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.log_contract import LogContract
from tests.contract.log_kafka_harness import KafkaLogHarness
from tests.stack import RunningStack, needs

pytestmark = needs("kafka")


class TestLogKafka(LogContract):
    """Every store and every member has clients of its own."""

    @pytest.fixture
    def harness(self, stack: RunningStack) -> Iterator[KafkaLogHarness]:
        """The stack's broker."""
        harness = KafkaLogHarness(stack.config.kafka.brokers)
        yield harness
        harness.close()
