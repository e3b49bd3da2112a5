"""What every application offers beside its own: whether to send requests here, whether to restart it, and its document."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec
import yaml
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Lifespan

from orderctl.contracts import contract_text
from orderctl.metrics import Metrics
from orderctl.web.bodylimit import BodyLimit
from orderctl.web.edge import BODY_BYTES_MAX, Probe
from orderctl.web.middleware import Observed, RequestIds
from orderctl.web.problems import NOT_ALIVE, NOT_READY, Kind, Problem
from orderctl.web.routing import Routed, route

JSON = "application/json"


def health_routes(probe: Probe) -> list[Route]:
    """`/livez` and `/readyz`, as their `probe` answers."""

    async def livez(_request: Request) -> Response:
        return _health(probe.not_alive(), NOT_ALIVE, [])

    async def readyz(_request: Request) -> Response:
        return _health(probe.not_ready(), NOT_READY, probe.degraded())

    return [route("/livez", livez), route("/readyz", readyz)]


def document_route(name: str) -> Route:
    """`/openapi.json`, made of the OpenAPI document `http/<name>`."""
    document = _as_json(name)

    async def openapi(_request: Request) -> Response:
        return Response(document, media_type=JSON)

    return route("/openapi.json", openapi)


@cache
def _as_json(name: str) -> bytes:
    # libyaml, where PyYAML was built with it, reads the document in a tenth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return msgspec.json.encode(yaml.load(contract_text("http", name), Loader=loader))  # noqa: S506 - both loaders are safe


def surround(
    routes: Sequence[Route],
    *,
    metrics: Metrics | None,
    body_timeout_s: float,
    lifespan: Lifespan[Router] | None = None,
) -> ASGIApp:
    """An application of these routes, inside everything that all applications have in common."""
    limited = BodyLimit(Routed(routes, lifespan), bytes_max=BODY_BYTES_MAX, timeout_s=body_timeout_s)
    return RequestIds(Observed(limited, metrics=metrics))


def _health(reasons: Sequence[str], kind: Kind, degraded: Sequence[str]) -> Response:
    if reasons:
        raise Problem(kind, "; ".join(reasons))
    body: dict[str, object] = {"status": "ok"}
    if degraded:
        body["degraded"] = degraded
    return Response(msgspec.json.encode(body), media_type=JSON)
