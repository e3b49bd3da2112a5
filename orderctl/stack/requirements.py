"""What has to be there before a stack can start: programs, and ports that nobody else holds."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import Final

from orderctl.errors import UsageRefused
from orderctl.stack.probes import Address
from orderctl.stack.process import describe, listener, running
from orderctl.stack.server import Part, find_program


class PortTaken(UsageRefused):
    """A port that the stack needs is taken."""


PACKAGES: Final = {
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "redis-server": "redis-server",
    "java": "default-jre-headless",
    "mvn": "maven",
}
"""Which package of Debian and Ubuntu brings a program."""


def require_programs(parts: Iterable[Part]) -> None:
    """Refuse to begin where something is not installed.

    Raises:
        UsageRefused: names all that is missing, and what installs it.

    """
    missing = sorted({name for part in parts for name in part.programs if find_program(name) is None})
    if not missing:
        return
    packages = " ".join(sorted({PACKAGES[name] for name in missing}))
    raise UsageRefused(
        f"not installed: {', '.join(missing)}",
        hint=f"`make servers`, or on Debian and Ubuntu `apt-get install {packages}`",
    )


def require_ports(parts: Iterable[Part]) -> None:
    """Refuse to begin where a port is taken by somebody else.

    Raises:
        PortTaken: names the port, and who has it where the kernel tells.

    """
    for part in parts:
        for server in part.servers:
            if running(server.pid_file) is None:
                for address in server.addresses:
                    _require_port(server.name, address)


def _require_port(name: str, address: Address) -> None:
    with socket.socket() as trial:
        # As servers do it: the rests of connections that were closed do not count.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UsageRefused(f"{name} cannot use {address[0]}:{address[1]}: {error.strerror}") from error
            holder = listener(address[1])
            by = f" by {describe(holder)}" if holder else ""
            raise PortTaken(
                f"port {address[1]}, which {name} needs, is taken{by}",
                hint="end that, or choose other ports with --port-offset",
            ) from error
