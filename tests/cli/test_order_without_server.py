"""`orderctl order` where no server answers, or one that stays silent."""

from __future__ import annotations

import json

import pytest

from tests.admin.scripted import Scripted, ScriptedServer, scripted
from tests.cli.terminal import Terminal

ORDER_ID = "0197b0de-5c00-7abc-8000-0123456789ab"
CREATE = ["order", "create", "--merchant-ref", "a", "--amount", "1", "--currency", "EUR", "--payment-method", "card"]
NOBODY = {"ORDERCTL_COMMAND__BIND": "127.0.0.1:1", "ORDERCTL_QUERY__BIND": "127.0.0.1:1", "ORDERCTL_KEY": "ok_0"}


def at(server: ScriptedServer) -> dict[str, str]:
    """An environment in which both servers are that one."""
    bind = server.address.removeprefix("http://")
    return {"ORDERCTL_COMMAND__BIND": bind, "ORDERCTL_QUERY__BIND": bind, "ORDERCTL_KEY": "ok_0"}


@pytest.mark.parametrize(
    "arguments", [CREATE, ["order", "get", ORDER_ID], ["order", "watch", ORDER_ID]], ids=lambda a: a[1]
)
def test_no_server_is_exit_4(terminal: Terminal, arguments: list[str]) -> None:
    """The address is named, and nothing is made on the way."""
    said = terminal.refuses(*arguments, code=4, **NOBODY)
    assert said.endswith("server: no answer at http://127.0.0.1:1 (connection refused)")
    assert not list(terminal.folder.iterdir())


def test_no_key_is_exit_2(terminal: Terminal) -> None:
    """Where there is neither a key nor a data directory that has one."""
    assert terminal.refuses(*CREATE, code=2).startswith("no key: neither --key-file nor ORDERCTL_KEY says one")
    assert not list(terminal.folder.iterdir())


def test_a_silent_server_leaves_a_write_open(terminal: Terminal) -> None:
    """Exit 5, and the words say that nobody knows."""
    with scripted(Scripted(-1)) as server:
        said = terminal.refuses(*CREATE, "--timeout", "3s", code=5, **at(server))
    assert said == "no end within 3s: whether it was written is not known; the same command again is safe"


def test_a_silent_server_is_no_answer(terminal: Terminal) -> None:
    """Exit 5 for a look-up too."""
    with scripted(Scripted(-1)) as server:
        said = terminal.refuses("order", "get", ORDER_ID, "--timeout", "3s", code=5, **at(server))
    assert said == "no end within 3s: the look-up has no answer yet"


def test_a_look_up_that_stays_pending_is_exit_5(terminal: Terminal) -> None:
    """It is asked again until the time is over."""
    with scripted(Scripted(202, {"lookup": "pending"}, {"Retry-After": "0"})) as server:
        terminal.refuses("order", "get", ORDER_ID, "--timeout", "3s", code=5, **at(server))
        assert len(server.asked) > 1


def test_an_outcome_that_is_not_known_is_exit_5(terminal: Terminal) -> None:
    """Whether the server says so or the connection is lost."""
    unknown = {"type": "urn:orderctl:problem:outcome-unknown", "title": "Nobody knows"}
    with scripted(Scripted(503, unknown), Scripted(0)) as server:
        assert "Nobody knows (503)" in terminal.refuses(*CREATE, code=5, **at(server))
        assert "whether it was written is not known" in terminal.refuses(*CREATE, code=5, **at(server))


@pytest.mark.parametrize(("status", "code"), [(429, 4), (503, 4), (500, 70)])
def test_a_server_in_trouble(terminal: Terminal, status: int, code: int) -> None:
    """Its own words, and the documented exit code."""
    problem = {"title": "Trouble", "detail": "too much of it", "request_id": "r-1"}
    with scripted(Scripted(status, problem, {"Retry-After": "7"})) as server:
        assert f"too much of it ({status})" in terminal.refuses(*CREATE, code=code, **at(server))


def test_an_answer_that_is_no_order(terminal: Terminal) -> None:
    """It is passed on as it is where bytes are asked for, and is a line where it has to be understood."""
    with scripted(Scripted(200, b'{"odd": true}')) as server:
        assert json.loads(terminal.run("order", "get", ORDER_ID, "-o", "json", **at(server)).stdout) == {"odd": True}
        said = terminal.refuses("order", "get", ORDER_ID, code=70, **at(server))
    assert said.startswith("the server's answer is no order")
