"""One look-up of an order at a time in a process: whoever comes while it is under way waits for what it brings."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar


class Passenger(Protocol):
    """Somebody who waits for an order."""

    @property
    def order_id(self) -> str:
        """The order."""
        ...

    is_late: bool
    """Whether the flight was under way when this one came: what it brings may have been read before that."""


P = TypeVar("P", bound=Passenger)


class Flights(Generic[P]):
    """The look-ups that are under way, for several threads. Nothing waits in here, and nothing is asked of a tier."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._flights: dict[str, list[P]] = {}

    def board(self, passengers: Iterable[P]) -> list[str]:
        """Let each wait for his order's flight; returns the orders whose flight begins now, with the caller to fly it."""
        begun: dict[str, list[P]] = {}
        with self._guard:
            for passenger in passengers:
                order_id = passenger.order_id
                flight = self._flights.get(order_id)
                if flight is None:
                    flight = self._flights[order_id] = begun[order_id] = []
                # Known before anybody can land the flight.
                passenger.is_late = order_id not in begun
                flight.append(passenger)
        return [*begun]

    def land(self, order_ids: Iterable[str]) -> list[P]:
        """End the flights of these orders; returns who is to be answered now. Who comes from now on begins another."""
        with self._guard:
            return [passenger for order_id in order_ids for passenger in self._flights.pop(order_id, ())]

    def __len__(self) -> int:
        """How many orders are being looked up."""
        with self._guard:
            return len(self._flights)
