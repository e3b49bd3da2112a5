"""What daemons log: the form, the members, and what must never be in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from orderctl import log
from orderctl.sections import LogSection

KEY = "ok_" + "0123456789abcdef" * 4


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging as it was before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("hypercorn").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def logged(section: LogSection | None = None, stream: io.StringIO | None = None, /, **members: Any) -> str:
    """One event's line."""
    stream = stream or io.StringIO()
    log.configure(section or LogSection(), stream=stream)
    structlog.stdlib.get_logger("test").info("it happened", **members)
    return stream.getvalue()


def test_json_where_nobody_watches() -> None:
    """One object a line: time, level and event first."""
    line = json.loads(logged(orders=3))
    assert list(line)[:3] == ["ts", "level", "event"]
    assert (line["level"], line["event"], line["orders"]) == ("info", "it happened", 3)


def test_logfmt_on_a_terminal() -> None:
    """`auto` asks the stream."""
    assert 'level=info event="it happened" orders=3' in logged(None, Terminal(), orders=3)


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("logfmt", False)])
def test_the_form_can_be_chosen(form: Any, is_json: bool) -> None:
    """Whatever the stream is."""
    assert logged(LogSection(format=form), Terminal()).startswith("{") is is_json


def test_below_the_level_nothing_is_said() -> None:
    """Neither by us nor by the standard library's loggers."""
    stream = io.StringIO()
    log.configure(LogSection(level="warning"), stream=stream)
    structlog.stdlib.get_logger("test").info("quiet")
    logging.getLogger("library").info("quiet")
    assert not stream.getvalue()


def test_libraries_take_the_same_way_out() -> None:
    """Hypercorn logs by the standard library, with its arguments apart."""
    stream = io.StringIO()
    log.configure(LogSection(), stream=stream)
    logging.getLogger("hypercorn.error").warning("lost %s", "a client")
    assert json.loads(stream.getvalue())["event"] == "lost a client"


def test_bound_members_are_in_every_line() -> None:
    """The daemon, the request and the order, where there is one."""
    with structlog.contextvars.bound_contextvars(daemon="query", request_id="r-1", order_id="o-1"):
        line = json.loads(logged())
    assert (line["daemon"], line["request_id"], line["order_id"]) == ("query", "r-1", "o-1")


@pytest.mark.parametrize(
    "members",
    [
        {"key": "hidden"},
        {"api_key": "hidden"},
        {"Authorization": "hidden"},
        {"metadata": {"card": "hidden"}},
        {"password": "hidden"},
        {"db_password": "hidden"},
        {"order": {"order_id": "o", "metadata": {"a": "hidden"}}},
        {"orders": [{"token": "hidden"}]},
    ],
)
@pytest.mark.parametrize("form", ["json", "logfmt"])
def test_secret_members_are_dropped_at_any_depth(members: dict[str, Any], form: Any) -> None:
    """By their names."""
    assert "hidden" not in logged(LogSection(format=form), **members)


@pytest.mark.parametrize(
    "text", [f"no such key: {KEY}", f"Authorization: Bearer {KEY}", "Bearer hidden", "mysql://app:hidden@db/orders"]
)
def test_secrets_that_text_quotes_are_masked(text: str) -> None:
    """In a value, in the event itself and in a traceback."""
    stream = io.StringIO()
    log.configure(LogSection(), stream=stream)
    logger = structlog.stdlib.get_logger("test")
    try:
        int(text)  # its error quotes the text
    except ValueError:
        logger.exception(text, detail=text)
    logging.getLogger("library").error(text)
    assert KEY not in stream.getvalue()
    assert "hidden" not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_what_names_a_key_is_kept() -> None:
    """An id of a key is no key."""
    assert json.loads(logged(key_id="key_1"))["key_id"] == "key_1"


def test_a_value_cannot_forge_a_line_or_steer_a_terminal() -> None:
    """Control characters are escaped in logfmt; JSON does so by itself."""
    line = logged(LogSection(format="logfmt"), path="a\r\nlevel=info\x1b[2J")
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert "\r" not in line


def test_configuring_again_replaces_and_leaves_others() -> None:
    """One line an event, however often; a handler of somebody else stays."""
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    logged()
    assert logged().count("\n") == 1
    assert other in logging.getLogger().handlers
