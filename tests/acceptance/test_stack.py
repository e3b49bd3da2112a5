"""`orderctl stack`: from nothing to all healthy, what dies comes back, and in the end nothing is left."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orderctl.config import is_embedded, load
from orderctl.duration import Duration
from orderctl.stack.layout import Layout
from orderctl.stack.probes import redis
from tests.acceptance.server import PATIENCE_S, until
from tests.cli.terminal import PROGRAM, Done, Terminal
from tests.stack import PORT_OFFSETS, STOP_S, guard, needs

OFFSET = 500
LAYOUT = Layout(port_offset=OFFSET, redis_replicas=1)
PRIMARY = ("127.0.0.1", LAYOUT.redis_ports[0])


SECONDS_MAX = 300
"""How long a command may take: it may have to fetch archives."""

pytestmark = [needs(), pytest.mark.timeout(SECONDS_MAX)]


class PatientProcess(Terminal):
    """A shell that waits for servers and Maven."""

    def execute(self, arguments: list[str], environ: dict[str, str]) -> Done:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


class Stacked:
    """A user who keeps a stack in `.stack` under a folder, beside the tests' own."""

    def __init__(self, folder: Path) -> None:
        assert OFFSET not in PORT_OFFSETS
        self.terminal = PatientProcess(folder)
        self.folder = folder / ".stack"

    def run(self, *arguments: str) -> Done:
        """`orderctl stack …`, which has to go well."""
        done = self.terminal.run("stack", *arguments)
        assert done.returncode == 0, done.stderr
        return done

    def up(self, *options: str) -> dict[str, str]:
        """`up`, and what it says of each server."""
        lines = self.run("up", "--port-offset", str(OFFSET), "--redis-replicas", "1", *options).stdout.splitlines()
        return {name: " ".join(rest) for name, _address, *rest in map(str.split, lines)}

    def pids(self) -> dict[str, int]:
        """The servers that run, as `status` says."""
        seen = json.loads(self.terminal.run("stack", "status", "-o", "json").stdout)
        return {server["name"]: server["pid"] for server in seen if server["state"] == "up"}


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A shell in an empty directory."""
    return PatientProcess(tmp_path)


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stacked]:
    """All servers."""
    user = Stacked(tmp_path_factory.mktemp("user"))
    watching = guard(user.folder)
    try:
        user.up()
        yield user
        assert user.run("down", "--purge").stderr == ""
        assert not user.folder.exists()
    finally:
        watching.communicate(timeout=STOP_S)


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


SERVERS = {"sql", *(f"redis-{node}" for node in range(1, 7)), "kafka", "cassandra"}


def test_all_of_them_are_up(stacked: Stacked) -> None:
    """Every server answers; each is the leader of its own session and reads from nowhere, so no terminal takes it along."""
    pids = stacked.pids()
    assert set(pids) == SERVERS
    for pid in pids.values():
        assert os.getsid(pid) == pid
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path(os.devnull)


def test_the_configuration_that_it_writes(stacked: Stacked) -> None:
    """Every tier's servers, and a move to the archive that is quick to see; its owner alone may read the password."""
    config = load(stacked.folder / "orderctl.toml", {})
    assert not is_embedded(config)
    assert config.archiver.settle_s == Duration(1)
    assert len(config.redis.nodes) == 6
    assert Path(str(config.mysql.shards[0].password_file)).stat().st_mode & 0o777 == 0o600
    assert stacked.folder.stat().st_mode & 0o777 == 0o700
    assert all(LAYOUT.sql_port <= int(node.partition(":")[2]) < 32_768 for node in config.redis.nodes)


def test_the_cache_has_replicas(stacked: Stacked) -> None:
    """Each primary has one, and all slots are served."""
    nodes = redis(PRIMARY, "CLUSTER", "NODES").splitlines()
    assert sorted(" slave " in line for line in nodes) == [False] * 3 + [True] * 3
    assert "cluster_slots_ok:16384" in redis(PRIMARY, "CLUSTER", "INFO")


def test_up_again_is_harmless_and_revives_the_dead(stacked: Stacked) -> None:
    """What runs stays the process that it was; what was killed comes back and is named."""
    before = stacked.pids()
    assert set(stacked.up().values()) == {"was running"}
    assert stacked.pids() == before
    for name in ("sql", "redis-4", "cassandra"):
        os.kill(before[name], signal.SIGKILL)
    until(
        lambda: all(gone(before[name]) for name in ("sql", "redis-4", "cassandra")), seconds=PATIENCE_S, what="killed"
    )
    status = stacked.terminal.run("stack", "status")
    assert (status.returncode, status.stdout.count(" down ")) == (4, 3)
    revived = {name for name, how in stacked.up().items() if how.startswith("healthy after ")}
    assert revived == {"sql", "redis-4", "cassandra"}
    assert {name for name, pid in stacked.pids().items() if before[name] != pid} == revived


def test_a_server_that_hangs_is_seen(stacked: Stacked) -> None:
    """It runs and does not answer; `status` says so within its own bound."""
    pid = stacked.pids()["kafka"]
    os.kill(pid, signal.SIGSTOP)
    try:
        status = stacked.terminal.run("stack", "status")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert status.returncode == 4
    assert [line.split()[1] for line in status.stdout.splitlines() if line.startswith("kafka")] == ["unhealthy"]


def test_logs(stacked: Stacked) -> None:
    """One server's last lines, or those of a part with their names; an unknown name is said."""
    assert stacked.run("logs", "sql", "--lines", "3").stdout.count("\n") == 3
    assert stacked.run("logs", "redis", "--lines", "1").stdout.count("==> redis-") == 6
    followed = stacked.terminal.run("stack", "logs", "sql", "--lines", "1", "--follow", "--timeout", "10s")
    assert followed.returncode == 5
    assert followed.stdout.count("\n") >= 1
    unknown = stacked.terminal.run("stack", "logs", "nope")
    assert unknown.returncode == 3
    assert "there is no server nope" in unknown.stderr


def test_data_outlives_down(stacked: Stacked) -> None:
    """`down` leaves no process and all the data; another kind of stack is refused as long as it is there."""
    pids, name = stacked.pids(), redis(PRIMARY, "CLUSTER", "MYID")
    said = stacked.run("down").stdout
    assert said.count(" stopped\n") + said.count(" killed\n") == len(SERVERS)
    assert all(map(gone, pids.values()))
    assert stacked.run("down").stdout.count(" did not run\n") == len(SERVERS)
    refused = stacked.terminal.refuses("stack", "up", "--cassandra-nodes", "3", code=2)
    assert refused == "the stack here was made with cassandra nodes 1, not 3"
    assert set(stacked.up("--only", "redis")) == {server for server in SERVERS if server.startswith("redis")}
    assert redis(PRIMARY, "CLUSTER", "MYID") == name


def test_a_port_that_is_taken(terminal: Terminal) -> None:
    """It is said by whom; nothing is started, and nothing is left behind."""
    with socket.create_server(("127.0.0.1", Layout(port_offset=OFFSET + 1).sql_port)):
        said = terminal.refuses("stack", "up", "--port-offset", str(OFFSET + 1), "--only", "sql", code=2)
    assert said.startswith(f"port {23306 + OFFSET + 1}, which sql needs, is taken by process {os.getpid()} (")
    assert not (terminal.folder / ".stack").exists()


def test_what_is_not_installed_is_named(terminal: Terminal) -> None:
    """With what installs it, all at once."""
    done = terminal.run("stack", "up", "--only", "redis,kafka", PATH="/nowhere", XDG_CACHE_HOME=str(terminal.folder))
    assert done.returncode == 2
    assert "not installed: java, mvn, redis-server" in done.stderr
    assert "make servers" in done.stderr
    assert "apt-get install default-jre-headless maven redis-server" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("up", "--only", "sql,foo"), 2, "there is no part foo; there is sql, redis, kafka, cassandra"),
        (("up", "--only", ""), 2, "there is no part"),
        (("up", "--cassandra-nodes", "2"), 2, "cassandra_nodes"),
        (("up", "--port-offset", "3001"), 2, "port_offset"),
        (("status",), 3, "there is no stack in"),
        (("logs",), 3, "there is no stack in"),
    ],
)
def test_what_cannot_be_done_is_said(terminal: Terminal, arguments: tuple[str, ...], code: int, said: str) -> None:
    """In one line; and no folder is made for it."""
    assert said in terminal.refuses("stack", *arguments, code=code)
    assert not (terminal.folder / ".stack").exists()


def test_down_where_nothing_is(terminal: Terminal) -> None:
    """Is done at once; so it can stand in a script's end."""
    done = terminal.run("stack", "down", "--purge")
    assert (done.returncode, done.stdout) == (0, "")
    assert not (terminal.folder / ".stack").exists()


def test_purge_leaves_what_is_not_the_stacks(terminal: Terminal) -> None:
    """The folder may be somebody's home: only what `up` made goes."""
    mine = terminal.folder / ".stack" / "mine"
    mine.parent.mkdir()
    mine.touch()
    offset = str(OFFSET + 50)
    assert terminal.run("stack", "up", "--only", "redis", "--port-offset", offset).returncode == 0
    assert terminal.run("stack", "down", "--purge").returncode == 0
    assert list(mine.parent.iterdir()) == [mine]
