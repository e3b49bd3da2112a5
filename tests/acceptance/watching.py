"""What tests see of servers under load: how long answers took, and what a process counts."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.ledger import Api
from tests.acceptance.server import Answer, Server


class Stopwatch:
    """Both API servers, and how long everybody has waited for either."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.took_s: list[float] = []

    def command(self, method: str, target: str, key: str = "demo", body: object = None, **headers: str) -> Answer:
        """A request to the command server."""
        return self._timed(lambda: self._api.command(method, target, key, body, **headers))

    def query(self, method: str, target: str, key: str = "demo", body: object = None, **headers: str) -> Answer:
        """A request to the query server."""
        return self._timed(lambda: self._api.query(method, target, key, body, **headers))

    def _timed(self, ask: Callable[[], Answer]) -> Answer:
        began_s = time.monotonic()
        try:
            return ask()
        finally:
            self.took_s.append(time.monotonic() - began_s)


def counted(server: Server, name: str) -> float:
    """What a process has counted under a metric's name (without the prefix), over all labels."""
    text = server.admin("/metrics").body.decode()
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == f"orderctl_{name}")
