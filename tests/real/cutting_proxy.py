"""A TCP proxy that cuts a MySQL connection, or lets it hang, at a statement of the test's choice."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from enum import Enum


class Fault(Enum):
    """What happens at the statement."""

    CUT_BEFORE = "the server never sees it, and the connection is gone"
    CUT_AFTER = "the server has answered it, and the connection is gone before the answer is"
    HANG_AFTER = "the server has answered it, and the answer never comes"


class CuttingProxy:
    """Listens on loopback, at `port`, for the server at `target_port`; does nothing to connections until `arm` is called."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._fault: tuple[bytes, Fault] | None = None
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.seen = 0
        """How often the statement has come."""
        self._spawn(self._accept)

    def arm(self, statement: bytes, fault: Fault) -> None:
        """From now on `fault` befalls every connection that sends `statement`."""
        self._fault = (statement, fault)

    def disarm(self) -> None:
        """Leave connections alone again."""
        self._fault = None

    def close(self) -> None:
        """Cut everything."""
        # A thread that is in accept() does not notice that its socket was closed; it notices that it was shut down.
        for each in (self._listener, *self._sockets):
            _shut(each)
        for thread in self._threads:
            thread.join(60)
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port), 60)
                server.settimeout(None)
                self._sockets += [client, server]
                struck = threading.Event()
                self._spawn(lambda c=client, s=server, e=struck: self._to_server(c, s, e))
                self._spawn(lambda c=client, s=server, e=struck: self._to_client(c, s, e))

    def _to_server(self, client: socket.socket, server: socket.socket, struck: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 20):
                if self._fault is not None and self._fault[0] in data:
                    self.seen += 1
                    if self._fault[1] is Fault.CUT_BEFORE:
                        break
                    struck.set()
                server.sendall(data)
        _shut(client)
        _shut(server)

    def _to_client(self, client: socket.socket, server: socket.socket, struck: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 20):
                if struck.is_set():
                    if self._fault is None or self._fault[1] is Fault.CUT_AFTER:
                        break
                    continue
                client.sendall(data)
        _shut(client)
        _shut(server)

    def _spawn(self, run: object) -> None:
        assert callable(run)
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
