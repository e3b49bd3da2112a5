"""The admin port: health, metrics and status. It asks for no key, and belongs on an interface that only operators reach."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from orderctl.web.common import JSON, health_routes, surround
from orderctl.web.edge import EdgeSettings, Probe
from orderctl.web.routing import route


def admin_app(probe: Probe, render_metrics: Callable[[], bytes]) -> ASGIApp:
    """The application. `render_metrics` gives Prometheus' text format; it and `probe.status` may wait, so threads run them."""

    async def metrics(_request: Request) -> Response:
        return Response(await run_in_threadpool(render_metrics), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def status(_request: Request) -> Response:
        return Response(msgspec.json.encode(await run_in_threadpool(probe.status)), media_type=JSON)

    routes = [*health_routes(probe), route("/metrics", metrics), route("/status", status)]
    return surround(routes, metrics=None, body_timeout_s=EdgeSettings().body_timeout_s)
