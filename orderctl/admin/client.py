"""A client of the two servers, to try things out and for scripts: one request at a time, its answer or an error of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx2
import msgspec
from msgspec import Struct

from orderctl import body
from orderctl.admin.servers import Servers
from orderctl.body import OrderBody
from orderctl.errors import NotFound, OrderctlError, OutcomeUnknown, TierUnavailable, UsageRefused
from orderctl.order import FieldError

CONNECT_S_MAX = 5.0
_REFUSED = frozenset({400, 403, 405, 409, 412, 413, 415, 422})
_UNAVAILABLE = frozenset({408, 429, 502, 503})
_ASK_AGAIN = "asking again with the same merchant_ref, or the same change, is safe"


class Problem(Struct, frozen=True):
    """A problem document, as far as people need it."""

    title: str = ""
    detail: str = ""
    type: str = ""
    request_id: str = ""
    errors: tuple[FieldError, ...] = ()

    def in_words(self, status: int) -> str:
        """The problem in a line, with every place in the body that it points to."""
        places = "; ".join(f"{error.pointer or 'the body'}: {error.detail}" for error in self.errors)
        said = f"{self.title}: {places}" if places else self.detail or self.title or "the server gave no reason"
        return f"{said} ({status})"


class Found(Struct, frozen=True):
    """An order, in the bytes that the server sent. `replayed`: it had been created before."""

    body: bytes
    replayed: bool = False


class Pending(Struct, frozen=True):
    """The look-up has no answer yet; `retry_after_s` is when to ask again."""

    retry_after_s: float


class OrderClient:
    """Speaks to the servers with one key. Time is bounded by the caller: a server may stay silent for as long as it likes."""

    def __init__(self, servers: Servers, key: str) -> None:
        # Proxies of the environment are for the world outside, and would see the key.
        self._http = httpx2.Client(
            timeout=httpx2.Timeout(None, connect=CONNECT_S_MAX),
            headers={"Authorization": f"Bearer {key}", "User-Agent": "orderctl"},
            trust_env=False,
        )
        self._servers = servers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def create(self, new: Mapping[str, Any]) -> Found:
        """Create an order, or meet the one that the same reference already stands for."""
        answer = self._ask("command", self._servers.command, "POST", "/v1/orders", json=new)
        return Found(answer.content, answer.headers.get("Idempotent-Replayed") == "true")

    def change(self, order_id: str, status: str, *, status_reason: str | None, if_version: int | None) -> Found:
        """Move an order on. `if_version` is the version that it must have."""
        wanted = {"status": status} | ({} if status_reason is None else {"status_reason": status_reason})
        headers = {} if if_version is None else {"If-Match": f'"{if_version}"'}
        path = f"/v1/orders/{order_id}"
        return Found(self._ask("command", self._servers.command, "PATCH", path, json=wanted, headers=headers).content)

    def get(self, order_id: str, *, wait_s: int, min_version: int | None = None) -> Found | Pending:
        """Look an order up; the server may take `wait_s` for it. With `min_version`, at least that version of it."""
        query = "" if min_version is None else f"?min_version={min_version}"
        headers = {"Prefer": f"wait={wait_s}"}
        answer = self._ask("query", self._servers.query, "GET", f"/v1/orders/{order_id}{query}", headers=headers)
        return Pending(_retry_after_s(answer)) if answer.status_code == 202 else Found(answer.content)

    def _ask(
        self,
        server: str,
        addresses: Sequence[str],
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        server = f"{server} server"
        tried = "none runs on this data directory"
        for address in addresses:
            try:
                answer = self._http.request(method, address + path, json=json, headers=headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                tried = f"no answer at {address} ({_reason(error)})"
            except httpx2.TransportError as error:
                _fail_on_the_way(server, method, address, error)
            else:
                return answer if answer.is_success else _refuse(server, method, answer)
        raise TierUnavailable(server, tried, hint="`orderctl serve` starts one; `orderctl status` shows who is there")


def parse_order(answer: bytes) -> OrderBody:
    """The order that a server sent.

    Raises:
        OrderctlError: it is none: what answered is not our server.

    """
    try:
        return body.parse(answer)
    except msgspec.DecodeError as error:
        raise OrderctlError(f"the server's answer is no order: {error}") from error


def _fail_on_the_way(server: str, method: str, address: str, error: Exception) -> NoReturn:
    lost = f"the connection to {address} was lost ({_reason(error)})"
    if method == "GET":
        raise TierUnavailable(server, lost) from error
    raise OutcomeUnknown(server, f"{lost}: whether it was written is not known", hint=_ASK_AGAIN) from error


def _refuse(server: str, method: str, answer: httpx2.Response) -> NoReturn:
    status = answer.status_code
    problem = _problem(answer)
    said = problem.in_words(status)
    if problem.type.endswith("outcome-unknown") or (status in {502, 504} and method != "GET"):
        raise OutcomeUnknown(server, said, hint=_ASK_AGAIN)
    if status in _UNAVAILABLE or status == 504:
        raise TierUnavailable(server, said, hint=f"try again in {_retry_after_s(answer):g} s")
    if status == 404:
        raise NotFound(said)
    if status == 401:
        raise UsageRefused(
            "the key is not known to the server, or was revoked (401)",
            hint="it is that of --key-file, else of ORDERCTL_KEY, else the data directory's",
        )
    if status in _REFUSED:
        raise UsageRefused(said)
    raise OrderctlError(f"{server}: {said}", hint=f"its log tells more: request {problem.request_id}")


def _problem(answer: httpx2.Response) -> Problem:
    try:
        return msgspec.json.decode(answer.content, type=Problem)
    except msgspec.DecodeError:  # not our server's answer
        return Problem(title=answer.reason_phrase)


def _reason(error: Exception) -> str:
    """What the system said, without its number."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)).lower() or type(error).__name__


def _retry_after_s(answer: httpx2.Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return min(float(text), 60.0) if text.isascii() and text.isdecimal() else 1.0
