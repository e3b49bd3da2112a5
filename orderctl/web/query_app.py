"""The query server: looks orders up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import Final, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp

from orderctl.clock import Clock
from orderctl.errors import InvalidOrderId
from orderctl.ids import are_order_ids, parse_order_id
from orderctl.metrics import Metrics
from orderctl.order import VISIBLE_ASCII_64, Caller, FieldError
from orderctl.services.answers import Answer, Failed, Found, Loading, Missing, Pending, Settled
from orderctl.services.askers import Lookup
from orderctl.services.keys import KeyRing
from orderctl.services.late import LateReader, shown
from orderctl.services.near import NearEntry
from orderctl.services.query import QueryService
from orderctl.services.quick_reads import ANSWERED_NEAR
from orderctl.services.references import References
from orderctl.stores.cache import LEASE_TTL_MS
from orderctl.stores.hot import Ref
from orderctl.stores.late import LateResult
from orderctl.stores.record import merchant_digest
from orderctl.version import VERSION_MAX
from orderctl.web.auth import authenticate, gateway_only, merchant_of
from orderctl.web.batcher import Batcher
from orderctl.web.bodies import Decoder, read_json
from orderctl.web.common import JSON, document_route, health_routes, surround
from orderctl.web.edge import EdgeSettings, Probe
from orderctl.web.headers import etag, if_none_match, wait_s
from orderctl.web.problems import INVALID_REQUEST, RETRY_AFTER_S, Problem, invalid, no_such_order, of_error
from orderctl.web.results import results_response
from orderctl.web.routing import route
from orderctl.web.shapes import LookupBody, too_many_ids

LANES = 2
"""Look-ups are read while others are decoded; more lanes would make smaller batches of the same load."""
LOAD_WAIT_MAX_S: Final = LEASE_TTL_MS / 1000
"""A look-up waits so long for a load in this process, whatever it prefers: after that, another process may load the order."""
POLL_FIRST_S: Final = 0.02
POLL_GROWTH: Final = 1.5
POLL_MAX_S: Final = 0.25

_WITH_ORDER: Final = (Found, NearEntry)

Recall = Callable[[Sequence[str], bytes | None], list[NearEntry | None]]
"""What process memory has of these orders, for this merchant."""

_lookup_body = Decoder(LookupBody, too_many_ids)
_merchant_ref = re.compile(VISIBLE_ASCII_64).fullmatch
_integer = re.compile(r"[1-9][0-9]{0,15}").fullmatch


def query_app(
    service: QueryService,
    references: References,
    keys: KeyRing,
    *,
    late: LateReader,
    clock: Clock,
    metrics: Metrics,
    probe: Probe,
    executor: Executor,
    settings: EdgeSettings,
) -> ASGIApp:
    """The application. Its lifespan's end waits for what was taken."""
    sizes = metrics.batch_orders.labels
    lookups = Batcher(service.look_up, executor, observe=sizes("lookup").observe, settings=settings, lanes=LANES)
    late_results = Batcher(late.read, executor, observe=sizes("late").observe, settings=settings)
    refs = Batcher(references.resolve, executor, observe=sizes("resolve").observe, settings=settings)
    archived_refs = Batcher(
        references.resolve_archived, executor, observe=sizes("resolve_archived").observe, settings=settings
    )
    api = _Api(
        keys,
        clock,
        service.quick.recall,
        lookups,
        refs,
        archived_refs,
        late_results,
        probe=probe,
        wait_max_s=settings.wait_max_s,
    )

    @asynccontextmanager
    async def lifespan(_app: Router) -> AsyncIterator[None]:
        yield
        await refs.close()
        await late_results.close()
        await archived_refs.close()
        await lookups.close()

    routes = [
        route("/v1/orders", api.by_reference),
        route("/v1/orders/lookup", api.look_up, method="POST"),
        route("/v1/orders/{order_id}", api.by_id),
        route("/v1/orders/{order_id}/late-results", api.late_results),
        *health_routes(probe),
        document_route("query.yaml"),
    ]
    return surround(routes, metrics=metrics, body_timeout_s=settings.body_timeout_s, lifespan=lifespan)


class _Api:
    """The routes."""

    def __init__(
        self,
        keys: KeyRing,
        clock: Clock,
        recall: Recall,
        lookups: Batcher[Lookup, Answer],
        refs: Batcher[Ref, str | Failed | None],
        archived_refs: Batcher[Ref, str | Failed | None],
        late: Batcher[str, list[LateResult] | Missing | Failed],
        *,
        probe: Probe,
        wait_max_s: float,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._recall = recall
        self._lookups = lookups
        self._refs = refs
        self._late = late
        self._archived_refs = archived_refs
        self._probe = probe
        self._wait_max_s = wait_max_s

    async def by_id(self, request: Request) -> Response:
        caller = authenticate(request, self._keys)
        order_id = parse_order_id(request.path_params["order_id"], now_ms=self._now_ms())
        parameters = _parameters(request, "min_version")
        return await self._one(request, Lookup(order_id, _digest_of(caller), _min_version(parameters)))

    async def by_reference(self, request: Request) -> Response:
        merchant_id = merchant_of(authenticate(request, self._keys), to="ask by merchant_ref")
        parameters = _parameters(request, "merchant_ref", "min_version")
        merchant_ref = parameters.get("merchant_ref", "")
        if _merchant_ref(merchant_ref) is None:
            raise Problem(INVALID_REQUEST, "merchant_ref: expected 1 to 64 visible ASCII characters")
        min_version = _min_version(parameters)
        ref = Ref(merchant_id, merchant_ref)
        (order_id,) = await self._refs.submit([ref])
        if order_id is None:
            (order_id,) = await self._archived_refs.submit([ref])
        if order_id is None:
            raise no_such_order()
        if isinstance(order_id, Failed):
            raise of_error(order_id.error)
        return await self._one(request, Lookup(order_id, merchant_digest(merchant_id), min_version))

    async def late_results(self, request: Request) -> Response:
        gateway_only(authenticate(request, self._keys), to="read late results")
        order_id = parse_order_id(request.path_params["order_id"], now_ms=self._now_ms())
        (found,) = await self._late.submit([order_id])
        if isinstance(found, Missing):
            raise no_such_order()
        if isinstance(found, Failed):
            raise of_error(found.error)
        return Response(msgspec.json.encode({"late_results": shown(found)}), 200, None, JSON)

    async def look_up(self, request: Request) -> Response:
        caller = authenticate(request, self._keys)
        wanted = _lookup_body.decode(await read_json(request)).order_ids
        merchant = _digest_of(caller)
        found: list[NearEntry | Settled | None] = [*self._recall(wanted, merchant)]
        left = [place for place, copy in enumerate(found) if copy is None]
        lookups = [Lookup(order_id, merchant) for order_id in self._order_ids(wanted, left)]
        answers, headers = await self._answers(request, lookups)
        for place, answer in zip(left, answers, strict=True):
            found[place] = answer
        return results_response(map(_lookup_item, wanted, found), headers)

    async def _one(self, request: Request, lookup: Lookup) -> Response:
        (copy,) = self._recall([lookup.order_id], lookup.merchant)
        is_known = copy is not None and copy.version >= lookup.min_version
        answers, headers = await self._answers(request, [] if is_known else [lookup])
        match answer := copy if is_known else answers[0]:
            case Found() | NearEntry():
                via = answer.via if isinstance(answer, Found) else ANSWERED_NEAR
                headers |= {"ETag": etag(answer.version), "Cache-Status": str(via)}
                if if_none_match(request.headers.getlist("if-none-match"), answer.version):
                    return Response(None, 304, headers)
                return Response(answer.body, 200, headers, JSON)
            case Pending():
                return Response(b'{"lookup":"pending"}', 202, headers | {"Retry-After": str(RETRY_AFTER_S)}, JSON)
            case _:
                raise no_such_order()

    async def _answers(self, request: Request, lookups: Sequence[Lookup]) -> tuple[list[Settled], dict[str, str]]:
        """The answers, as early as there are no pending ones, or as late as the reader would wait; and headers that say so.

        Raises:
            Problem: 503; a tier that had to be asked could not be. 500; a fault of ours.

        """
        loop = asyncio.get_running_loop()
        asked_s = wait_s(request.headers.getlist("prefer"))
        waited_s = min(asked_s or 0, self._wait_max_s)
        deadline_s, pause_s = loop.time() + waited_s, POLL_FIRST_S
        answers = await _settled(await self._lookups.submit(lookups))
        while (pending := _pending(answers)) and loop.time() < deadline_s:
            if self._probe.not_ready() or await request.is_disconnected():
                break  # a server that stops, or a reader who has left, waits for nothing
            await asyncio.sleep(min(pause_s, max(0.0, deadline_s - loop.time())))
            pause_s = min(pause_s * POLL_GROWTH, POLL_MAX_S)
            later = await _settled(await self._lookups.submit([lookups[index] for index in pending]))
            for index, answer in zip(pending, later, strict=True):
                answers[index] = answer
        for answer in answers:
            if isinstance(answer, Failed):
                raise of_error(answer.error)
        return answers, {} if asked_s is None else {"Preference-Applied": f"wait={waited_s:g}"}

    def _order_ids(self, texts: Sequence[str], places: Sequence[int]) -> list[str]:
        """The ids at these places, in their canonical form."""
        now_ms = self._now_ms()
        order_ids = [texts[place] for place in places]
        if are_order_ids(order_ids, now_ms=now_ms):
            return order_ids
        errors: list[FieldError] = []
        for at, index in enumerate(places):
            try:
                order_ids[at] = parse_order_id(texts[index], now_ms=now_ms)
            except InvalidOrderId as error:
                errors.append(FieldError(f"/order_ids/{index}", error.message))
        if errors:
            raise invalid(errors)
        return order_ids

    def _now_ms(self) -> int:
        return self._clock.now_us() // 1000


def _pending(answers: Sequence[Settled]) -> list[int]:
    if Pending not in map(type, answers):
        return []
    return [index for index, answer in enumerate(answers) if isinstance(answer, Pending)]


async def _settled(answers: list[Answer]) -> list[Settled]:
    """The answers, once what is being loaded in this process has come; what has not come in time is pending."""
    if Loading not in map(type, answers):
        return cast("list[Settled]", answers)
    coming = {id(answer): asyncio.wrap_future(answer.answer) for answer in answers if isinstance(answer, Loading)}
    if coming:
        await asyncio.wait(coming.values(), timeout=LOAD_WAIT_MAX_S)
    for future in coming.values():
        future.cancel()  # of those that have not come: the event loop may have ended when they do
    return [_outcome(coming[id(answer)]) if isinstance(answer, Loading) else answer for answer in answers]


def _outcome(future: asyncio.Future[Settled]) -> Settled:
    return Pending() if future.cancelled() else future.result()


def _parameters(request: Request, *known: str) -> Mapping[str, str]:
    """The query's parameters. One that is misspelt or said twice is refused: to pass it over could answer with an old order."""
    if not request.scope["query_string"]:
        return {}
    said = request.query_params.multi_items()
    for index, (name, _) in enumerate(said):
        if name not in known:
            raise Problem(INVALID_REQUEST, f"there is no query parameter of that name; there are: {', '.join(known)}")
        if any(name == earlier for earlier, _ in said[:index]):
            raise Problem(INVALID_REQUEST, f"{name} is there twice")
    return dict(said)


def _min_version(parameters: Mapping[str, str]) -> int:
    text = parameters.get("min_version")
    if text is None:
        return 0
    if _integer(text) is None or int(text) > VERSION_MAX:
        raise Problem(INVALID_REQUEST, f"min_version: expected an integer from 1 to {VERSION_MAX}")
    return int(text)


def _digest_of(caller: Caller) -> bytes | None:
    return None if caller.merchant_id is None else merchant_digest(caller.merchant_id)


def _lookup_item(order_id: str, answer: NearEntry | Settled | None) -> bytes:
    if isinstance(answer, _WITH_ORDER):
        return b'{"order":%b}' % answer.body
    said = "not_found" if isinstance(answer, Missing) else "pending"
    return msgspec.json.encode({"order_id": order_id.lower(), "lookup": said})
