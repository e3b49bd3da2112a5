"""What surrounds every application, as pure ASGI: request ids, the access metrics, and the last catch."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import perf_counter
from uuid import uuid4

import structlog
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderctl.metrics import Metrics
from orderctl.web.problems import REQUEST_ID_KEY, request_id_of

UNMATCHED = "unmatched"
"""The route's label for paths that no route has, so that a scanner cannot make labels without end."""
CLIENT_CLOSED = 499
"""The status in metrics where the client left before it was answered, as nginx has it."""

_log = structlog.get_logger("orderctl.web")
_visible_ascii_64 = re.compile(r"[!-~]{1,64}").fullmatch


def _make_request_id() -> str:
    return uuid4().hex


class RequestIds:
    """Gives each request an id, the caller's if it is 1-64 visible ASCII, and says it in `X-Request-Id`."""

    def __init__(self, app: ASGIApp, *, make: Callable[[], str] = _make_request_id) -> None:
        self._app = app
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        asked = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = asked if _visible_ascii_64(asked) else self._make()
        scope[REQUEST_ID_KEY] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(scope, receive, send_with_id)


class Observed:
    """Counts and times every answer, and logs what an application failed with instead of answering."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics | None) -> None:
        self._app = app
        self._metrics = metrics
        self._answered: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_CLOSED
        started_s = perf_counter()

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except Exception as error:  # noqa: BLE001 - the last catch: it was answered with 500, and goes no further
            _log.error("request failed", request_id=request_id_of(scope), exc_info=error)
        finally:
            self._count(scope, status, perf_counter() - started_s)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        if self._metrics is None:
            return
        route = getattr(scope.get("route"), "path", UNMATCHED)
        answered = self._answered.get((route, status))
        if answered is None:
            answered = self._answered[route, status] = (
                self._metrics.http_requests.labels(route, str(status)),
                self._metrics.request_seconds.labels(route),
            )
        requests, request_seconds = answered
        requests.inc()
        request_seconds.observe(seconds)
