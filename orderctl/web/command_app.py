"""The command server: creates and changes orders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from itertools import repeat

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp

from orderctl.clock import Clock
from orderctl.errors import InvalidOrderId
from orderctl.ids import parse_order_id
from orderctl.metrics import Metrics
from orderctl.order import Caller, Change, FieldError, NewOrder, Status, field_errors, may_set
from orderctl.services.answers import ChangeAnswer, CreateAnswer, Stored
from orderctl.services.command import CommandService, CreateRequest
from orderctl.services.keys import KeyRing
from orderctl.stores.record import Record
from orderctl.web.auth import authenticate, merchant_of
from orderctl.web.batcher import Batcher
from orderctl.web.bodies import BatchDecoder, Decoder, read_json
from orderctl.web.common import document_route, health_routes, surround
from orderctl.web.edge import EdgeSettings, Probe
from orderctl.web.headers import if_match
from orderctl.web.problems import FORBIDDEN, Problem, invalid, request_id_of
from orderctl.web.results import (
    changed_response,
    item,
    problem_item,
    problem_of,
    results_response,
    status_of,
    stored_response,
)
from orderctl.web.routing import route
from orderctl.web.shapes import ChangeBody, ChangeItem

LANES_MORE = 1
"""While a batch waits for the disk, another whole one is worked on; smaller ones wait, to go together."""

_new_order = Decoder(NewOrder, field_errors)
_new_orders = BatchDecoder("orders", _new_order, NewOrder)
_change = Decoder(ChangeBody)
_changes = BatchDecoder("changes", Decoder(ChangeItem), ChangeItem)


def command_app(
    service: CommandService,
    keys: KeyRing,
    *,
    clock: Clock,
    metrics: Metrics,
    probe: Probe,
    executor: Executor,
    settings: EdgeSettings,
) -> ASGIApp:
    """The application. Its lifespan's end waits for what was taken."""
    sizes = metrics.batch_orders.labels
    creates = Batcher(
        service.create,
        executor,
        observe=sizes("create").observe,
        settings=settings,
        lanes_more=LANES_MORE,
        is_patient=True,
    )
    changes = Batcher(
        service.change,
        executor,
        observe=sizes("change").observe,
        settings=settings,
        lanes_more=LANES_MORE,
        is_patient=True,
    )
    api = _Api(keys, clock, creates, changes)

    @asynccontextmanager
    async def lifespan(_app: Router) -> AsyncIterator[None]:
        yield
        await creates.close()
        await changes.close()

    routes = [
        route("/v1/orders", api.create, method="POST"),
        route("/v1/orders/batch", api.create_batch, method="POST"),
        route("/v1/orders/changes", api.change_batch, method="POST"),
        route("/v1/orders/{order_id}", api.change, method="PATCH"),
        *health_routes(probe),
        document_route("command.yaml"),
    ]
    return surround(routes, metrics=metrics, body_timeout_s=settings.body_timeout_s, lifespan=lifespan)


class _Api:
    """The routes. Who asks and what is asked are settled before a store hears of it."""

    def __init__(
        self,
        keys: KeyRing,
        clock: Clock,
        creates: Batcher[CreateRequest, CreateAnswer],
        changes: Batcher[Change, ChangeAnswer],
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._creates = creates
        self._changes = changes

    async def create(self, request: Request) -> Response:
        merchant_id = merchant_of(authenticate(request, self._keys), to="create orders")
        new = _new_order.decode(await read_json(request))
        (answer,) = await self._creates.submit([CreateRequest(merchant_id, new)])
        if not isinstance(answer, Stored):
            raise problem_of(answer)
        return stored_response(answer)

    async def create_batch(self, request: Request) -> Response:
        merchant_id = merchant_of(authenticate(request, self._keys), to="create orders")
        news = _new_orders.decode(await read_json(request))
        valid = [CreateRequest(merchant_id, new) for new in news if isinstance(new, NewOrder)]
        answers = iter(await self._creates.submit(valid))
        outcomes = [new if isinstance(new, Problem) else next(answers) for new in news]
        return results_response(map(_create_item, outcomes, repeat(request_id_of(request.scope))))

    async def change(self, request: Request) -> Response:
        caller = authenticate(request, self._keys)
        order_id = parse_order_id(request.path_params["order_id"], now_ms=self._clock.now_us() // 1000)
        if_versions = if_match(request.headers.getlist("if-match"))
        body = _change.decode(await read_json(request))
        _check_may_set(caller, body.status)
        change = Change(order_id, body.status, body.status_reason, caller.merchant_id, if_versions)
        (answer,) = await self._changes.submit([change])
        if not isinstance(answer, Record):
            raise problem_of(answer)
        return changed_response(answer)

    async def change_batch(self, request: Request) -> Response:
        caller = authenticate(request, self._keys)
        items = _changes.decode(await read_json(request))
        wishes = [self._wish(caller, wanted) for wanted in items]
        answers = iter(await self._changes.submit([wish for wish in wishes if isinstance(wish, Change)]))
        outcomes = [wish if isinstance(wish, Problem) else next(answers) for wish in wishes]
        return results_response(map(_change_item, outcomes, repeat(request_id_of(request.scope))))

    def _wish(self, caller: Caller, wanted: ChangeItem | Problem) -> Change | Problem:
        if isinstance(wanted, Problem):
            return wanted
        try:
            order_id = parse_order_id(wanted.order_id, now_ms=self._clock.now_us() // 1000)
            _check_may_set(caller, wanted.status)
        except InvalidOrderId as error:
            return invalid([FieldError("/order_id", error.message)])
        except Problem as problem:
            return problem
        if_versions = None if wanted.if_version is None else (wanted.if_version,)
        return Change(order_id, wanted.status, wanted.status_reason, caller.merchant_id, if_versions)


def _check_may_set(caller: Caller, status: Status) -> None:
    if not may_set(caller.role, status):
        raise Problem(FORBIDDEN, f"a {caller.role}'s key may not set {status}")


def _create_item(outcome: CreateAnswer | Problem, request_id: str) -> bytes:
    if isinstance(outcome, Stored):
        return item(status_of(outcome), outcome.record.body)
    return problem_item(outcome if isinstance(outcome, Problem) else problem_of(outcome), request_id)


def _change_item(outcome: ChangeAnswer | Problem, request_id: str) -> bytes:
    if isinstance(outcome, Record):
        return item(200, outcome.body)
    return problem_item(outcome if isinstance(outcome, Problem) else problem_of(outcome), request_id)
