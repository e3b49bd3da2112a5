"""`orderctl serve` as a user starts it: a process, a data directory, ports of its own choosing."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

START_S, STOP_S = 60.0, 60.0
PATIENCE_S: Final = 60.0
"""Nothing that a healthy process is to do takes longer, however busy the machine is."""
ANSWERED_S: Final = 40.0
"""Longer than any time-out after which a server answers that it cannot."""
PATIENTLY: Final = "wait=10"
"""What a reader prefers who is to be told, however long a load takes."""
TICK = threading.Event()


def until(condition: Callable[[], bool], *, seconds: float = PATIENCE_S, what: str) -> None:
    """Wait for a condition; a failure says for which."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        TICK.wait(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class Answer:
    """An HTTP answer, read whole."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def call(url: str, method: str, target: str, key: str | None = None, body: object = None, **headers: str) -> Answer:
    """One request on a connection of its own. OSError and HTTPException mean that no answer came."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=ANSWERED_S)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        sent["Authorization"] = f"Bearer {key}"
    if body is not None:
        sent["Content-Type"] = "application/json"
    try:
        connection.request(method, target, None if body is None else json.dumps(body), sent)
        return Answer(connection.getresponse())
    finally:
        connection.close()


class Server:
    """One `orderctl serve`, which may be killed and started again on its data directory."""

    def __init__(
        self, data_dir: Path, *daemons: str, settings: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> None:
        self.data_dir = data_dir
        self._ready_file = data_dir.with_name(f"{data_dir.name}-{'-'.join(daemons) or 'all'}.ready")
        self._log = data_dir.with_name(f"{data_dir.name}-{'-'.join(daemons) or 'all'}.log")
        self._arguments = [sys.executable, "-m", "orderctl", "serve", *daemons]
        self._arguments += ["--data-dir", str(data_dir), "--ready-file", str(self._ready_file)]
        binds = {f"ORDERCTL_{name}__BIND": "127.0.0.1:0" for name in ("COMMAND", "QUERY", "ADMIN")}
        self._environment = {**os.environ, **binds, **(settings or {})}
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, Any] = {}

    def spawn(self) -> None:
        """Start the process, without waiting for anything."""
        self._ready_file.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._arguments, env=self._environment, cwd=self._folder, stdout=log, stderr=log
            )

    def start(self) -> None:
        """Start and wait until it is ready."""
        self.spawn()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until what was spawned is ready."""
        until(self._is_ready, seconds=START_S, what=f"ready; its log: {self.log[-2000:]}")

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.log[-2000:]}"
        if not self._ready_file.exists():
            return False
        self.ready = json.loads(self._ready_file.read_text())
        return True

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(STOP_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    @property
    def log(self) -> str:
        """What it has written so far, over all its lives."""
        return self._log.read_text() if self._log.exists() else ""

    def key(self, name: str) -> str:
        """One of the keys of the first start: `demo` or `gateway`."""
        return (self.data_dir / "keys" / name).read_text().strip()

    def command(self, method: str, target: str, key: str = "demo", body: object = None, **headers: str) -> Answer:
        """A request to the command server."""
        return call(self.ready["command"], method, target, self.key(key), body, **headers)

    def query(self, method: str, target: str, key: str = "demo", body: object = None, **headers: str) -> Answer:
        """A request to the query server."""
        return call(self.ready["query"], method, target, self.key(key), body, **headers)

    def admin(self, target: str) -> Answer:
        """A request to the admin server."""
        return call(self.ready["admin"], "GET", target)
