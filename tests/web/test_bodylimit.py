"""The body limits, driven message by message."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive, Scope, Send

from orderctl.web.bodylimit import BodyLimit
from orderctl.web.problems import Problem


def scope_with(*headers: tuple[bytes, bytes]) -> Scope:
    return {"type": "http", "http_version": "1.1", "method": "POST", "headers": list(headers)}


async def read_all(receive: Receive) -> int:
    """How many bytes the body has."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    return size


def run(scope: Scope, parts: Iterable[bytes], *, stalls: bool = False, reads: bool = True) -> tuple[int, list[Message]]:
    """Send `parts` to an application that reads them and answers; its size of the body, and what it sent."""
    sent: list[Message] = []
    sizes: list[int] = []
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting += [] if stalls else [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return waiting.pop(0) if waiting else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        sizes.append(await read_all(receive) if reads else 0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok", "more_body": False})

    limited = BodyLimit(app, bytes_max=10, timeout_s=0.05)
    asyncio.run(asyncio.wait_for(limited(scope, receive, send), 10))
    return sizes[0], sent


CHUNKED = (b"transfer-encoding", b"chunked")


def test_a_body_within_the_limits_passes() -> None:
    """Up to the last byte, with the answer untouched."""
    assert run(scope_with(CHUNKED), [b"12345", b"67890"]) == (
        10,
        [
            {"type": "http.response.start", "status": 200, "headers": []},
            {"type": "http.response.body", "body": b"ok", "more_body": False},
        ],
    )


def test_the_byte_that_is_too_many_ends_it() -> None:
    """413 while reading."""
    with pytest.raises(Problem, match="413"):
        run(scope_with(CHUNKED), [b"12345", b"678901"])


def test_a_length_that_is_too_large_ends_it_before() -> None:
    """413 without reading a byte."""
    with pytest.raises(Problem, match="413"):
        run(scope_with((b"content-length", b"11")), [])


def test_a_body_that_stops_coming_ends_it() -> None:
    """408 at the deadline."""
    with pytest.raises(Problem, match=r"408.*within 0.05 s"):
        run(scope_with(CHUNKED), [b"1"], stalls=True)


def test_an_early_answer_reads_what_has_come() -> None:
    """The connection is kept where the rest of the body was there already."""
    _, sent = run(scope_with((b"content-length", b"5")), [b"12345"], reads=False)
    assert sent[0]["headers"] == []


def test_an_early_answer_closes_where_the_body_is_not_there() -> None:
    """It is sent whole, then the connection ends."""
    _, sent = run(scope_with((b"content-length", b"5")), [b"12"], reads=False, stalls=True)
    assert sent[0]["headers"] == [(b"connection", b"close")]
    assert [(message["body"], message["more_body"]) for message in sent[1:]] == [(b"ok", True), (b"", False)]


def test_a_request_without_a_body_is_answered_at_once() -> None:
    """Nothing is waited for."""
    _, sent = run(scope_with(), [], reads=False, stalls=True)
    assert len(sent) == 2
