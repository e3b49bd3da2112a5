"""Debezium in Kafka Connect: the field's own way from a binlog to Kafka, one process with one connector, led over its REST.

It runs with its own defaults but for the producer, which waits 20 ms for batches of 1 MiB and for all replicas' acknowledgements.
To read a backlog again it is stopped and its offsets are put back (KIP-875), so that its Java machine stays warm.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from orderctl.bench.ground import Ground
from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.errors import UsageRefused
from orderctl.secret import read_secret
from orderctl.stack.jars import Jars
from orderctl.stack.requirements import PACKAGES
from orderctl.stack.server import find_program, program, template
from orderctl.stack.waiting import Wait
from orderctl.stores.mysql_driver import connect, drop, send
from orderctl.stores.mysql_hot import server_of

NAME: Final = "debezium"
TABLE: Final = "orders"
HEAP: Final = "-Xmx1g"
SERVER_ID: Final = 5_471_001
LIMIT_S: Final = 600.0
"""It has to be fetched first, maybe."""
ANSWER_S: Final = 60.0
STOP_S: Final = 30.0
STOPPED, RUNNING = "STOPPED", "RUNNING"


class Debezium:
    """A connector that runs. `pid` is the process, which does nothing else."""

    def __init__(self, pid: int, port: int, log: Path) -> None:
        self.pid = pid
        self._port = port
        self._log = log

    def resume(self) -> None:
        """Let it read on, from where its offsets say."""
        self._call("PUT", "/resume")

    def stop(self) -> None:
        """End its task; its offsets are kept then, and may be changed."""
        self._call("PUT", "/stop")
        self.wait_until(STOPPED)

    def offsets(self) -> Any:
        """How far it has come, in its own words."""
        return self._call("GET", "/offsets")

    def go_back(self, offsets: Any) -> None:
        """Let it read on from there when it is resumed. It has to be stopped."""
        self._call("PATCH", "/offsets", offsets)

    def wait_until(self, state: str) -> None:
        """Wait until the connector is in this state, and its task if it is to run.

        Raises:
            TierUnavailable: it took too long.

        """

        def is_so() -> bool:
            status = self._call("GET", "/status", unless=http.client.NOT_FOUND)
            if status is None:
                return False
            tasks = [task["state"] for task in status["tasks"]]
            return bool(status["connector"]["state"] == state and tasks == ([] if state == STOPPED else [state]))

        _wait(ANSWER_S).until(is_so, what=state.lower(), log=self._log)

    def add(self, settings: dict[str, str]) -> None:
        """Give it the connector."""
        self._send("POST", "/connectors", {"name": NAME, "config": settings})

    def is_up(self) -> bool:
        """Whether Connect answers. While it starts it says 404 to everything."""
        return self._send("GET", "/connectors", unless=http.client.NOT_FOUND) is not None

    def _call(self, method: str, target: str, body: Any = None, unless: int | None = None) -> Any:
        return self._send(method, f"/connectors/{NAME}{target}", body, unless)

    def _send(self, method: str, target: str, body: Any = None, unless: int | None = None) -> Any:
        """What it answers; None where that is nothing, or the status `unless`."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_S)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, target, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status == unless:
            return None
        if answer.status >= http.client.BAD_REQUEST:
            text = f"{method} {target}: {answer.status} {said.decode(errors='replace')}"
            raise _wait(ANSWER_S).failed(text, self._log)
        return json.loads(said) if said else None


@contextmanager
def debezium(ground: Ground, prefix: str, cache: Path) -> Iterator[Debezium]:
    """Start it beside a scenario: every change of the table of orders from now on goes to the topic `topic_of` names.

    `cache` is where archives are kept; what is not there is fetched by Maven. What it says last is kept there, too.

    Raises:
        UsageRefused: Java or Maven is not installed, or the hot store is MySQL.
        TierUnavailable: it did not start.

    """
    _refuse_mysql(ground.config)
    wait = _wait(LIMIT_S)
    jars = Jars(cache)
    _require_programs(*(("java",) if jars.are_there(NAME) else ("java", "mvn")))
    jars.fetch(NAME, wait)
    folder, port = ground.folder / NAME, _free_port()
    folder.mkdir()
    log = cache / f"{NAME}.log"
    with log.open("wb") as output, _ended(_command(ground, folder, jars.of(NAME), port), output.fileno()) as process:
        peer = Debezium(process.pid, port, log)

        def answers() -> bool:
            if process.poll() is not None:
                raise wait.failed(f"ended with {process.returncode}", log)
            return peer.is_up()

        wait.until(answers, what="answering", log=log)
        peer.add(_connector(ground, prefix, folder))
        peer.wait_until(RUNNING)
        yield peer


def topic_of(ground: Ground) -> str:
    """The topic, without its prefix."""
    return f"{ground.name}.{TABLE}"


def _wait(limit_s: float) -> Wait:
    return Wait(NAME, limit_s=limit_s, clock=SystemClock(), given_up=threading.Event())


def _command(ground: Ground, folder: Path, jars: Path, port: int) -> list[str]:
    worker = {
        "bootstrap.servers": ",".join(ground.config.kafka.brokers),
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "false",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "offset.storage.file.filename": str(folder / "offsets"),
        "offset.flush.interval.ms": "1000",
        "plugin.discovery": "service_load",
        "listeners": f"http://127.0.0.1:{port}",
        "producer.acks": "all",
        "producer.linger.ms": "20",
        "producer.batch.size": str(1 << 20),
    }
    (folder / "worker.properties").write_text("".join(f"{key}={value}\n" for key, value in worker.items()), "utf-8")
    (folder / "log4j2.properties").write_text(template("kafka.log4j2.properties"), "utf-8")
    logging = f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"
    main = "org.apache.kafka.connect.cli.ConnectStandalone"
    return [program("java"), HEAP, logging, "-cp", f"{jars}/*", main, str(folder / "worker.properties")]


def _connector(ground: Ground, prefix: str, folder: Path) -> dict[str, str]:
    (shard,) = ground.config.mysql.shards
    return {
        "connector.class": "io.debezium.connector.mariadb.MariaDbConnector",
        "database.hostname": shard.host,
        "database.port": str(shard.port),
        "database.user": shard.user,
        "database.password": read_secret(shard.password, shard.password_file) or "",
        "database.server.id": str(SERVER_ID),
        "database.include.list": shard.database,
        "table.include.list": f"{shard.database}.{TABLE}",
        "topic.prefix": prefix,
        "snapshot.mode": "no_data",
        "binary.handling.mode": "base64",
        "include.schema.changes": "false",
        "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
        "schema.history.internal.file.filename": str(folder / "history"),
    }


def _require_programs(*names: str) -> None:
    missing = [name for name in names if find_program(name) is None]
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise UsageRefused(
            f"{', '.join(missing)} is not installed", hint=f"on Debian and Ubuntu `apt-get install {packages}`"
        )


def _refuse_mysql(config: Config) -> None:
    (shard,) = config.mysql.shards
    connection = connect(server_of(shard))
    try:
        ((version,),) = send(connection, "SELECT VERSION()")[1]
    finally:
        drop(connection)
    if "MariaDB" not in str(version):
        raise UsageRefused("Debezium is measured on MariaDB", hint="start a stack with `--sql mariadb`")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as trial:
        return int(trial.getsockname()[1])


@contextmanager
def _ended(command: list[str], output: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
