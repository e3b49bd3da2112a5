"""Listening: we bind ourselves, so that a port in use is one clear line, and so that children can inherit the socket."""

from __future__ import annotations

import os
import socket

from orderctl.errors import UsageRefused

PORT_MAX = 65_535


def listen(bind: str, *, setting: str, backlog: int) -> socket.socket:
    """A socket that listens at `bind` (HOST:PORT, or [HOST]:PORT for IPv6; port 0 takes a free one).

    Without SO_REUSEPORT: with it a second process would share the port without a word. SO_REUSEADDR only lets a restarted
    one take the port while connections of its predecessor are still in TIME_WAIT.

    Args:
        bind: where to listen.
        setting: what an operator would change, such as `[command] bind`; it is named in errors.
        backlog: connections that may wait to be accepted.

    Raises:
        UsageRefused: one cannot listen there.

    """
    host, port = _parse(bind, setting)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise _refused(bind, setting, f"{host!r} is no host that can be found") from error
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
        sock.listen(backlog)
        sock.settimeout(0)
    except OSError as error:
        sock.close()
        raise _refused(bind, setting, os.strerror(error.errno or 0).lower()) from error
    return sock


def url_of(sock: socket.socket) -> str:
    """The URL of the server that listens on `sock`."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _parse(bind: str, setting: str) -> tuple[str, int]:
    host, _, port = bind.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > PORT_MAX:
        raise _refused(bind, setting, f"expected HOST:PORT, port 0 … {PORT_MAX}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _refused(bind: str, setting: str, why: str) -> UsageRefused:
    return UsageRefused(
        f"cannot listen at {bind}: {why}", hint=f"set {setting} to another address; port 0 takes a free one"
    )
