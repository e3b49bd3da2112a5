"""What the HTTP applications are given: limits, and a probe that says how the process is."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

BODY_BYTES_MAX = 1 << 20
ITEMS_MAX = 500


class EdgeSettings(Struct, frozen=True):
    """Limits of the asynchronous edge. Times in seconds."""

    body_timeout_s: float = 10.0
    queue_max: int = 20_000
    linger_s: float = 0.02
    wait_max_s: float = 10.0


class Probe(Protocol):
    """How the process is, for load balancers and people."""

    def not_alive(self) -> list[str]:
        """Why the process should be restarted; empty where it is well."""
        ...

    def not_ready(self) -> list[str]:
        """Why no request should be sent here now; empty where all is ready."""
        ...

    def degraded(self) -> list[str]:
        """What does not work though requests may be sent here, such as a tier that is away."""
        ...

    def status(self) -> dict[str, Any]:
        """What /status shows."""
        ...
