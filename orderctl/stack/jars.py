"""The servers that come as Java archives: fetched once by Maven, kept outside every stack's data."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from orderctl.stack.server import program
from orderctl.stack.waiting import Wait

POMS: Final = Path(__file__).parent / "maven"


class Jars:
    """The archives that this orderctl's POMs name. Other versions' lie beside them, so nothing is ever overwritten."""

    def __init__(self, cache: Path) -> None:
        digest = hashlib.sha256(b"".join(pom.read_bytes() for pom in sorted(POMS.rglob("pom.xml"))))
        self._cache = cache
        self._folder = cache / f"servers-{digest.hexdigest()[:12]}"

    def of(self, server: str) -> Path:
        """The folder with one server's archives."""
        return self._folder / server

    def are_there(self, server: str) -> bool:
        """Whether they were fetched. A folder appears all at once."""
        return self.of(server).is_dir()

    def fetch(self, server: str, wait: Wait) -> None:
        """Fetch what is not there: Kafka's and Cassandra's by one run of Maven, whoever asks first.

        Raises:
            TierUnavailable: Maven failed, or took too long.

        """
        if self.are_there(server):
            return
        self._cache.mkdir(parents=True, exist_ok=True)
        log = self._cache / "maven.log"
        with self._alone(wait):
            if self.are_there(server):
                return
            new = self._cache / f"new-{os.getpid()}"
            shutil.rmtree(new, ignore_errors=True)
            try:
                wait.run(_maven(server, new), log=log, what="fetched by Maven")
                if not (new / server).is_dir():
                    raise wait.failed("not fetched by Maven, which says that it was", log)
                self._folder.mkdir(exist_ok=True)
                for folder in new.iterdir():
                    folder.rename(self._folder / folder.name)
            finally:
                shutil.rmtree(new, ignore_errors=True)

    @contextmanager
    def _alone(self, wait: Wait) -> Iterator[None]:
        """Two Mavens at once would spoil each other's local repository."""
        with (self._cache / "lock").open("w") as lock:
            wait.until(lambda: _locked(lock), what="let in: another orderctl fetches archives")
            yield


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where archives are kept, as the XDG base directories say."""
    base = environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "orderctl"


def _maven(server: str, into: Path) -> list[str]:
    """One run for Kafka and Cassandra together: it is mostly waiting. MySQL and Debezium are seldom wanted."""
    modules = server if server in {"mysql", "debezium"} else "kafka,cassandra"
    goal = "dependency:unpack-dependencies" if server == "mysql" else "dependency:copy-dependencies"
    options = ["--batch-mode", "--no-transfer-progress", "--threads=2", f"--file={POMS}", f"--projects={modules}"]
    return [program("mvn"), *options, goal, f"-Djars={into}"]


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
