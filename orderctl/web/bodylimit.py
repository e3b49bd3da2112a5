"""Bounds on a request's body, which no server sets: so many bytes, and so many seconds to arrive.

An answer that is sent before the body was read whole ends the connection, because what follows on it is no new request. The
rest of the body is read and thrown away for a moment first: closing over unread bytes makes the kernel reset the connection,
and the client would lose the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderctl.web.problems import REQUEST_TIMEOUT, TOO_LARGE, Problem

ALREADY_SENT_S = 0.05
"""How long an early answer waits for the rest of a body that is on its way, so that the connection can be kept."""
LINGER_S = 1.0
"""How long a connection that is to be closed is still read."""
_BODILESS: Final = frozenset({"GET", "HEAD"})
_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})


class BodyLimit:
    """Raises 413 and 408 out of `receive`, so that an application meets them where it reads the body."""

    def __init__(self, app: ASGIApp, *, bytes_max: int, timeout_s: float) -> None:
        self._app = app
        self._bytes_max = bytes_max
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["method"] in _BODILESS and not headers.keys() & _BODY_HEADERS:
            await self._app(scope, receive, send)  # what such a request may bring nobody reads
            return
        body = _Body(scope, headers, receive, send, bytes_max=self._bytes_max, timeout_s=self._timeout_s)
        await self._app(scope, body.receive, body.send)


class _Body:
    """One request's body on its way in."""

    def __init__(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        send: Send,
        *,
        bytes_max: int,
        timeout_s: float,
    ) -> None:
        length = headers.get(b"content-length", b"0")
        self._length = int(length) if length.isdigit() else 0
        self._receive = receive
        self._send = send
        self._bytes_max = bytes_max
        self._timeout_s = timeout_s
        self._deadline_s = asyncio.get_running_loop().time() + timeout_s
        self._bytes = 0
        self._is_read = self._length == 0 and b"transfer-encoding" not in headers
        self._closes = False
        self._is_http1 = scope["http_version"].startswith("1")

    async def receive(self) -> Message:
        """The next part of the body."""
        if self._length > self._bytes_max:
            raise self._too_large()
        try:
            async with asyncio.timeout_at(None if self._is_read else self._deadline_s):
                message = await self._receive()
        except TimeoutError:
            detail = f"the body did not arrive within {self._timeout_s:g} s"
            raise Problem(REQUEST_TIMEOUT, detail) from None
        self._note(message)
        if self._bytes > self._bytes_max:
            raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on; where the body was not read whole, see to a clean end of the connection."""
        if message["type"] == "http.response.start" and self._is_http1 and not self._is_read:
            await self._discard(ALREADY_SENT_S)
            self._closes = not self._is_read
            if self._closes:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        if message["type"] == "http.response.body" and self._closes and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._discard(LINGER_S)
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _discard(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not self._is_read:
                    self._note(await self._receive())
        except TimeoutError:
            pass

    def _note(self, message: Message) -> None:
        self._bytes += len(message.get("body", b""))
        if not message.get("more_body", False):  # the last part, or the client's leaving
            self._is_read = True

    def _too_large(self) -> Problem:
        return Problem(TOO_LARGE, f"a body has at most {self._bytes_max} bytes")
