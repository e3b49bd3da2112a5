"""The error tree: what can go wrong, in whose words, what helps, and which exit code says so.

    OrderctlError                 70  internal error
    ├── UsageRefused               2  wrong use, or refused
    │   ├── ConfigError            2  the configuration cannot be read or means nothing
    │   ├── InvalidOrderId         2  not an order id
    │   └── DataDirError           2  the data directory cannot be used as it is
    ├── NotFound                   3
    ├── TierError                  (one tier said no; `tier` names it)
    │   ├── TierUnavailable        4  it could not be reached: nothing was written
    │   ├── OutcomeUnknown         5  nobody can know whether it was written
    │   └── TierRejected          70  it refused what it was given: a fault of ours
    └── Interrupted              130

A driver's exceptions become one of these in exactly one place, its store; nothing above `stores/` knows a driver.
"""

from __future__ import annotations

from typing import ClassVar


class OrderctlError(Exception):
    """Something went wrong inside orderctl."""

    exit_code: ClassVar[int] = 70
    retriable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or str(type(self).__doc__)
        self.hint = hint
        super().__init__(self.message)


class UsageRefused(OrderctlError):
    """This cannot be done as asked."""

    exit_code = 2


class ConfigError(UsageRefused):
    """The configuration is not valid."""


class InvalidOrderId(UsageRefused):
    """An order id is a UUIDv7 in its canonical text, from no more than 60 s in the future."""


class DataDirError(UsageRefused):
    """The data directory cannot be used."""


class NotFound(OrderctlError):
    """There is no such thing."""

    exit_code = 3


class TierError(OrderctlError):
    """A tier did not do what it was asked."""

    def __init__(self, tier: str, message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.tier = tier

    def __str__(self) -> str:
        return f"{self.tier}: {self.message}"


class TierUnavailable(TierError):
    """The tier could not be reached; nothing was written."""

    exit_code = 4
    retriable = True


class OutcomeUnknown(TierError):
    """The connection was lost after COMMIT was sent: the write may have happened or not."""

    exit_code = 5


class TierRejected(TierError):
    """The tier refused what it was given."""


class Interrupted(OrderctlError):
    """Interrupted."""

    exit_code = 130
