"""The registry: what daemons must agree on, kept beside the orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from orderctl.order import Role


class Deployment(Struct, frozen=True):
    """The constants of a deployment as one shard has them, and its database's own time (Unix microseconds) when they were read.

    `server` is the identity of the server that answered, and `epoch_server` of the one that the epoch was raised on; both are
    None where there is no server. Orders of epochs before `epoch_settled` have been settled: the last promotion is over.
    """

    groups: int
    schema_version: int
    epoch: int
    now_us: int
    epoch_settled: int = 0
    server: str | None = None
    epoch_server: str | None = None

    @property
    def is_promoted(self) -> bool:
        """Whether versions are given here: another server may be a lagging copy, and would give the same ones again."""
        return self.server == self.epoch_server


class ApiKey(Struct, frozen=True):
    """A key by its digest (SHA-256 of the whole key; the key itself is kept nowhere). Times are Unix microseconds."""

    key_id: str
    digest: bytes
    role: Role
    merchant_id: str | None
    created_at: int
    revoked_at: int | None = None


class Heartbeat(Struct, frozen=True):
    """What a daemon says of itself every few seconds. `instance` tells two of a kind apart.

    `address` is its API's URL, or without an API its admin server's.
    """

    instance: str
    daemon: str
    state: str
    address: str | None
    last_error: str | None
    beat_at: int = 0


SILENCE_MAX_S = 3600


class Registry(Protocol):
    """Keys, the deployment's constants, and who is there. Small, read whole, written seldom."""

    def deployment(self) -> Deployment:
        """The deployment's constants, the epoch's, and the database's clock. Of several shards it is the first one's."""
        ...

    def raise_epoch(self, *, above: int) -> bool:
        """Raise the epoch `above` by one and note that it was raised on this server; False where another one is in force.

        For a promotion, see `orderctl shard promote`. Nobody may be writing to the shard by another server any more.
        """
        ...

    def note_settled(self, *, epoch: int) -> bool:
        """Note that the promotion to `epoch` is over; False where another epoch is in force."""
        ...

    def api_keys(self) -> list[ApiKey]:
        """Every key, revoked ones too, oldest first."""
        ...

    def add_key(self, key: ApiKey) -> bool:
        """Keep a key. Returns False, and changes nothing, where its digest or its id is known already, revoked or not."""
        ...

    def revoke_key(self, key_id: str, *, now_us: int) -> ApiKey | None:
        """Revoke a key for ever; returns it as it now is (a second time: as it was), None where there is none."""
        ...

    def beat(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Say that these daemons are alive, by the database's clock; `beat_at` is ignored.

        Whoever has been silent for `SILENCE_MAX_S` is forgotten: it ended without a word, and may never have had a name.
        """
        ...

    def retire(self, instances: Sequence[str]) -> None:
        """Forget these instances: they ended in good order."""
        ...

    def heartbeats(self) -> list[Heartbeat]:
        """The last heartbeat of every instance that was not retired, by daemon and instance."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
