"""Listening: what works, and the one clear line where it does not."""

from __future__ import annotations

import socket

import pytest

from orderctl.daemons.sockets import listen, url_of
from orderctl.errors import UsageRefused


@pytest.mark.parametrize(("bind", "url"), [("127.0.0.1:0", "http://127.0.0.1:"), ("[::1]:0", "http://[::1]:")])
def test_port_0_takes_a_free_one(bind: str, url: str) -> None:
    """IPv4 and IPv6; the URL tells which."""
    with listen(bind, setting="[query] bind", backlog=16) as sock:
        found = url_of(sock)
        assert found.startswith(url)
        assert int(found.rpartition(":")[2]) > 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_a_port_in_use_is_refused_with_address_and_setting() -> None:
    """A second server never shares the port without a word."""
    with listen("127.0.0.1:0", setting="[query] bind", backlog=16) as sock:
        bind = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(UsageRefused) as caught:
            listen(bind, setting="[query] bind", backlog=16)
    assert caught.value.message == f"cannot listen at {bind}: address already in use"
    assert "[query] bind" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("bind", "why"),
    [
        ("no such host:0", "no host"),
        ("203.0.113.7:0", "cannot assign"),
        ("127.0.0.1:99999", "HOST:PORT"),
        ("127.0.0.1", "HOST:PORT"),
        (":80", "HOST:PORT"),
        ("127.0.0.1:http", "HOST:PORT"),
        ("a" * 70 + ".example:0", "no host"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(bind: str, why: str) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(UsageRefused, match=why) as caught:
        listen(bind, setting="[admin] bind", backlog=16)
    assert bind in caught.value.message
