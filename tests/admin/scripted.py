"""A server that answers what it was told to, for answers that a real one gives only in trouble."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

SILENCE_S = 60


class Scripted(NamedTuple):
    """An answer. Status 0 ends the connection without one; -1 says nothing at all."""

    status: int
    body: Mapping[str, Any] | bytes = {}
    headers: Mapping[str, str] = {}


class Asked(NamedTuple):
    """A request that came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedServer:
    """Gives each request the next answer, and the last one again and again."""

    def __init__(self, answers: list[Scripted]) -> None:
        self.answers = answers
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = False
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait for what is under way."""
        self.ended.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            # Connections are kept: an alarm that falls into the client's making of one would leave its socket to the collector.
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                script.asked.append(Asked(self.command, self.path, dict(self.headers), body))
                answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
                if answer.status < 0:
                    script.ended.wait(SILENCE_S)
                if answer.status <= 0:
                    self.close_connection = True
                    return
                sent = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(sent)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_POST = do_PATCH = answer  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
                return

        return Handler


@contextmanager
def scripted(*answers: Scripted) -> Iterator[ScriptedServer]:
    """A server with these answers."""
    server = ScriptedServer(list(answers))
    try:
        yield server
    finally:
        server.close()
