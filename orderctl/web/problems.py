"""Problem documents (RFC 9457): every answer that is not what was asked for, in one shape.

A problem's `type` is `urn:orderctl:problem:` and a name that programs may rely on; its `detail` is for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from orderctl.errors import InvalidOrderId, OutcomeUnknown, TierUnavailable
from orderctl.order import FieldError

TYPE_PREFIX = "urn:orderctl:problem:"
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
REQUEST_ID_KEY = "orderctl.request_id"
"""Where the request's id is kept in its ASGI scope."""


class Kind(Struct, frozen=True):
    """A kind of problem: its status, the name in its `type`, and its title."""

    status: int
    name: str
    title: str


INVALID_REQUEST = Kind(400, "invalid-request", "The request is not valid")
UNAUTHORIZED = Kind(401, "unauthorized", "A valid key is needed")
FORBIDDEN = Kind(403, "forbidden", "This key may not do that")
NOT_FOUND = Kind(404, "not-found", "There is no such thing")
METHOD_NOT_ALLOWED = Kind(405, "method-not-allowed", "The method is not offered here")
REQUEST_TIMEOUT = Kind(408, "request-timeout", "The request's body came too slowly")
ILLEGAL_TRANSITION = Kind(409, "illegal-transition", "The order cannot become that")
VERSION_MISMATCH = Kind(412, "version-mismatch", "The order is at another version")
TOO_LARGE = Kind(413, "content-too-large", "The request's body is too large")
UNSUPPORTED_MEDIA_TYPE = Kind(415, "unsupported-media-type", "The request's body is of another type")
REFERENCE_REUSED = Kind(422, "reference-reused", "The merchant_ref stands for another order")
INTERNAL_ERROR = Kind(500, "internal-error", "The server failed")
UNAVAILABLE = Kind(503, "unavailable", "Not available at the moment; nothing was written")
OUTCOME_UNKNOWN = Kind(503, "outcome-unknown", "Nobody knows whether it was written")
NOT_READY = Kind(503, "not-ready", "No requests should be sent here now")
NOT_ALIVE = Kind(503, "not-alive", "The process should be restarted")


class Document(Struct, frozen=True, omit_defaults=True):
    """What is sent. The last three members are there only where they say something."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: Sequence[FieldError] = ()
    current_status: str | None = None
    current_version: int | None = None


class Problem(Exception):
    """The answer is a problem. Raised it answers the whole request; in a batch it may be one item's answer."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        current: tuple[str, int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{kind.status} {kind.name}: {detail}")
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.current = current
        self.headers = headers

    def encode(self, request_id: str) -> bytes:
        """The document as JSON."""
        status, version = self.current or (None, None)
        return msgspec.json.encode(
            Document(
                type=TYPE_PREFIX + self.kind.name,
                title=self.kind.title,
                status=self.kind.status,
                detail=self.detail,
                request_id=request_id,
                errors=self.errors,
                current_status=status,
                current_version=version,
            )
        )

    def response(self, scope: Scope) -> Response:
        """The answer to the request of that scope."""
        headers = dict(self.headers or {})
        if self.kind.status == UNAVAILABLE.status:
            headers.setdefault("Retry-After", str(RETRY_AFTER_S))
        return Response(self.encode(request_id_of(scope)), self.kind.status, headers, MEDIA_TYPE)


def request_id_of(scope: Scope) -> str:
    """The request's id, as `X-Request-Id` says it."""
    return str(scope[REQUEST_ID_KEY])


def invalid(errors: Sequence[FieldError]) -> Problem:
    """A body that is wrong in these places."""
    return Problem(INVALID_REQUEST, errors[0].detail if len(errors) == 1 else "see errors", errors=errors)


def no_such_order() -> Problem:
    """The same words for an order that does not exist and for somebody else's."""
    return Problem(NOT_FOUND, "there is no such order")


def of_error(error: Exception) -> Problem:
    """The problem that an error of ours, or of Starlette's routing, is. What is inside stays inside."""
    match error:
        case Problem():
            return error
        case HTTPException():
            return _of_routing(error)
        case InvalidOrderId():
            return Problem(INVALID_REQUEST, error.message)
        case OutcomeUnknown():
            detail = "the connection to the database was lost while it committed; asking again the same is safe"
            return Problem(OUTCOME_UNKNOWN, detail)
        case TierUnavailable():
            return Problem(UNAVAILABLE, "a database could not be reached; ask again")
        case _:
            return Problem(INTERNAL_ERROR, "an error inside the server; its log has more under this request_id")


def _of_routing(error: HTTPException) -> Problem:
    if error.status_code == METHOD_NOT_ALLOWED.status and error.headers:
        allowed = ", ".join(sorted(error.headers["Allow"].split(", ")))
        return Problem(METHOD_NOT_ALLOWED, f"offered here: {allowed}", headers={"Allow": allowed})
    return Problem(NOT_FOUND, "there is nothing at this address")
