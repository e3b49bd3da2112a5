"""Requests to handlers, and whatever a handler raises made an answer.

Starlette's own application does the same in three layers around each other, all of which every request would pass.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Lifespan, Message, Receive, Scope, Send

from orderctl.web.problems import INTERNAL_ERROR, Problem, of_error

Handler = Callable[[Request], Awaitable[Response]]


def route(path: str, handler: Handler, *, method: str = "GET") -> Route:
    """What answers requests of this method (and HEAD beside GET) for this path."""
    return Route(path, _Endpoint(handler), methods=[method])


class _Endpoint:
    """A handler as an application."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._handler(Request(scope, receive))
        await response(scope, receive, send)


class Routed:
    """An application of these routes: no answer of it but a handler's is anything but a problem document.

    What nobody foresaw is answered with 500, and raised again for whoever logs it.
    """

    def __init__(self, routes: Sequence[Route], lifespan: Lifespan[Router] | None = None) -> None:
        # A redirect to another number of slashes would send a body, and a key, a second time.
        self._router = Router(routes, redirect_slashes=False, lifespan=lifespan)
        self.routes = (*routes,)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        is_answered = False

        async def send_noted(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        scope["app"] = self  # so the router raises what it does not find, instead of answering in plain text
        try:
            await self._router(scope, receive, send_noted)
        except ClientDisconnect:
            return  # it went away while it was sending: there is nobody to answer
        except Exception as error:
            if is_answered:
                raise
            problem = of_error(error)
            await problem.response(scope)(scope, receive, send)
            if problem.kind is INTERNAL_ERROR and not isinstance(error, Problem):
                raise
