"""Who asks: `Authorization: Bearer <key>` made a Caller, or 401."""

from __future__ import annotations

from starlette.requests import Request

from orderctl.order import Caller, Role
from orderctl.services.keys import KeyRing
from orderctl.web.problems import FORBIDDEN, UNAUTHORIZED, Problem

CHALLENGE = {"WWW-Authenticate": "Bearer"}


def authenticate(request: Request, keys: KeyRing) -> Caller:
    """Whose key the request carries.

    Raises:
        Problem: 401; it carries none, several, or nobody's.

    """
    credentials = request.headers.getlist("authorization")
    scheme, _, key = credentials[0].partition(" ") if len(credentials) == 1 else ("", "", "")
    caller = keys.authenticate(key.strip()) if scheme.lower() == "bearer" else None
    if caller is None:
        raise Problem(UNAUTHORIZED, "expected `Authorization: Bearer KEY` with a key of ours", headers=CHALLENGE)
    return caller


def gateway_only(caller: Caller, *, to: str) -> None:
    """Let only the gateway do something.

    Raises:
        Problem: 403; somebody else asks.

    """
    if caller.role is not Role.GATEWAY:
        raise Problem(FORBIDDEN, f"only the gateway may {to}")


def merchant_of(caller: Caller, *, to: str) -> str:
    """The merchant that asks `to` do something that only merchants may.

    Raises:
        Problem: 403; it is no merchant.

    """
    if caller.role is not Role.MERCHANT or caller.merchant_id is None:
        raise Problem(FORBIDDEN, f"only a merchant may {to}")
    return caller.merchant_id
