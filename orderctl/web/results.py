"""Answers that carry orders: the bytes that the services gave, put into place and never encoded again."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response

from orderctl.order import Order, Refusal, Refused
from orderctl.services.answers import Failed, Stored
from orderctl.stores.hot import ReferenceReused
from orderctl.stores.record import Record
from orderctl.web.common import JSON
from orderctl.web.headers import etag
from orderctl.web.problems import (
    ILLEGAL_TRANSITION,
    REFERENCE_REUSED,
    VERSION_MISMATCH,
    Kind,
    Problem,
    no_such_order,
    of_error,
)

REPLAYED = {"Idempotent-Replayed": "true"}


def stored_response(stored: Stored) -> Response:
    """The answer to one creation."""
    record = stored.record
    headers = {"ETag": etag(record.version), "Location": f"/v1/orders/{record.order_id}"}
    if stored.replayed:
        headers |= REPLAYED
    return Response(record.body, status_of(stored), headers, JSON)


def status_of(stored: Stored) -> int:
    """201 for an order that was made now, 200 for one that was there."""
    return 200 if stored.replayed else 201


def changed_response(record: Record) -> Response:
    """The answer to one change."""
    return Response(record.body, 200, {"ETag": etag(record.version)}, JSON)


def item(status: int, order: bytes) -> bytes:
    """One result of a batch: an order."""
    return b'{"status":%d,"order":%b}' % (status, order)


def problem_item(problem: Problem, request_id: str) -> bytes:
    """One result of a batch: a problem."""
    return b'{"status":%d,"problem":%b}' % (problem.kind.status, problem.encode(request_id))


def results_response(items: Iterable[bytes], headers: dict[str, str] | None = None) -> Response:
    """The answer to a batch."""
    return Response(b'{"results":[%b]}' % b",".join(items), 200, headers, JSON)


def problem_of(answer: ReferenceReused | Refused | Failed) -> Problem:
    """Why the order was not written: 422, 404, 409, 412, or 503."""
    if isinstance(answer, Failed):
        return of_error(answer.error)
    if isinstance(answer, ReferenceReused):
        return Problem(
            REFERENCE_REUSED, f"merchant_ref stands for {answer.order_id}, which was created by another body"
        )
    if answer.order is None:
        return no_such_order()
    if answer.why is Refusal.VERSION_MISMATCH:
        return _conflict(VERSION_MISMATCH, f"the order is at version {answer.order.version}", answer.order)
    return _conflict(ILLEGAL_TRANSITION, f"the order is {answer.order.status} and cannot become that", answer.order)


def _conflict(kind: Kind, detail: str, order: Order) -> Problem:
    return Problem(kind, detail, current=(order.status.value, order.version))
