"""`orderctl serve` as a newcomer meets it: addresses, a request to paste, keys, and one clear line where it cannot be."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orderctl.admin.demo_keys import DemoKeys
from orderctl.cli.serve import introduction
from orderctl.daemons.manifest import names
from orderctl.daemons.ready import Ready
from tests.acceptance.server import START_S, STOP_S, Server, call, until
from tests.cli.terminal import PROGRAM, Process, Terminal, environment

FREE = {f"ORDERCTL_{name}__BIND": "127.0.0.1:0" for name in ("COMMAND", "QUERY", "ADMIN")}
BOTH = Ready(pid=1, command="http://127.0.0.1:8701", query="http://127.0.0.1:8702", admin="http://127.0.0.1:8700")


class Serving:
    """`orderctl serve` with its stdout and stderr, in a directory with a space in its name."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder / "my shop"
        self.folder.mkdir(exist_ok=True)
        self.ready_file = self.folder / "ready.json"
        self.process = subprocess.Popen(
            [*PROGRAM, "serve", "--ready-file", str(self.ready_file), *arguments],
            cwd=self.folder,
            env=environment(FREE),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Until it is ready."""
        until(self._is_ready, seconds=START_S, what="ready")

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()
        return self.ready_file.exists()

    def stop(self) -> tuple[int, str, str]:
        """SIGTERM; its exit code and all that it said."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=STOP_S)
        return self.process.returncode, out, err

    def end(self) -> None:
        """Leave nothing behind, whatever failed."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """All daemons, ready."""
    started = Serving(tmp_path)
    try:
        started.wait()
        yield started
    finally:
        started.end()


def curl_twin(folder: Path) -> Path:
    """A folder with a `curl` that writes its arguments as JSON: what the shell made of the pasted lines."""
    script = folder / "bin" / "curl"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    script.chmod(0o755)
    return script.parent


def pasted(command: str, folder: Path) -> dict[str, list[str]]:
    """The options and values with which a shell in some other directory calls curl for these lines."""
    path = f"{curl_twin(folder)}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", command], cwd="/", env={"PATH": path}, capture_output=True, check=True)
    words = json.loads(done.stdout)
    found: dict[str, list[str]] = {"": []}
    for option, value in zip(["", *words], words, strict=False):
        if option in {"-H", "-d", "-w"}:
            found.setdefault(option, []).append(value)
        elif not value.startswith("-"):
            found[""].append(value)
    return found


def test_the_request_to_paste_creates_an_order(serving: Serving, tmp_path: Path) -> None:
    """Pasted as printed, from any directory, with a path that has a space."""
    code, out, _ = serving.stop()
    assert code == 0
    create = out.partition("Create an order:\n\n")[2].partition("\n\n")[0]
    sent = pasted(create, tmp_path)
    authorization, content_type = sent["-H"]
    key = (serving.folder / "orderctl-data" / "keys" / "demo").read_text().strip()
    assert (authorization, content_type) == (f"Authorization: Bearer {key}", "Content-Type: application/json")
    with Server(serving.folder / "orderctl-data") as server:
        answer = call(server.ready["command"], "POST", "/v1/orders", key, json.loads(sent["-d"][0]))
        assert answer.status == 201
        read = call(server.ready["query"], "GET", "/v1/orders?merchant_ref=demo-1", key)
        assert read.json == answer.json
        assert server.stop() == 0


def test_what_is_said_where(serving: Serving) -> None:
    """Addresses and the request on stdout; on stderr what is stored where, as the log is written. The key nowhere."""
    ready = json.loads(serving.ready_file.read_text())
    _, out, err = serving.stop()
    assert list(ready) == ["pid", "command", "query", "admin", "data_dir"]
    assert ready["pid"] == serving.process.pid
    addresses = [line.split() for line in out.splitlines()[:3]]
    assert addresses == [[name, ready[name]] for name in ("command", "query", "admin")]
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert "this is one machine" in events[0]
    for name in ("hot.db", "archive.db", "log.db", "cache.db", "keys"):
        assert str(serving.folder / "orderctl-data" / name) in events[0]
    assert "ok_" not in out + err


def test_time_out_drains(tmp_path: Path) -> None:
    """`--timeout` bounds `serve` only where it is given: it drains, and ends with 5."""
    started = Serving(tmp_path, "--timeout", "20s")
    try:
        out, err = started.process.communicate(timeout=STOP_S)
        assert started.process.returncode == 5
        assert "curl" in out
        assert err.splitlines()[-1] == "orderctl: stopped after 20s, as --timeout says"
        assert '"stopped"' in err
    finally:
        started.end()


def test_one_daemon_alone_prints_its_address_only(tmp_path: Path) -> None:
    """What was not asked for is not there; as JSON it is null."""
    started = Serving(tmp_path, "query", "-o", "json")
    try:
        started.wait()
        code, out, _ = started.stop()
        shown = json.loads(out)
        assert (code, shown["command"]) == (0, None)
        assert shown["query"].startswith("http://127.0.0.1:")
    finally:
        started.end()


def test_a_reader_that_leaves_does_not_end_the_server(tmp_path: Path) -> None:
    """`orderctl serve | head -1` goes on serving."""
    started = Serving(tmp_path)
    try:
        assert started.process.stdout is not None
        started.process.stdout.close()
        started.wait()
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(STOP_S) == 0
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.wait()
        assert started.process.stderr is not None
        started.process.stderr.close()


def test_two_first_starts_at_once_share_the_keys(tmp_path: Path) -> None:
    """Both become ready, and the key in the file opens both."""
    first, second = Server(tmp_path / "data", "command"), Server(tmp_path / "data", "query")
    with first, second:
        created = first.command("POST", "/v1/orders", body={
            "merchant_ref": "a", "amount": 1, "currency": "EUR", "payment_method": "card"
        })  # fmt: skip
        assert created.status == 201
        assert second.query("GET", f"/v1/orders/{created.json['order_id']}").status == 200
        assert (first.stop(), second.stop()) == (0, 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("comand", "no daemon `comand`; did you mean command?"),
        ("xyzzy", f"no daemon `xyzzy`; there are {', '.join(names())}"),
    ],
)
def test_a_daemon_that_is_not_offered(terminal: Terminal, name: str, said: str) -> None:
    """It is named, with the nearest or with those there are; nothing is made."""
    assert terminal.refuses("serve", name, code=2) == said
    assert not list(terminal.folder.iterdir())


def test_help_names_every_daemon(terminal: Terminal) -> None:
    """What is offered is what has a manifest."""
    assert f"{', '.join(names())}; none named" in " ".join(terminal.run("serve", "--help").stdout.split())


def test_a_port_in_use(process: Process) -> None:
    """The address and the setting are named; a server that runs there is left alone."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        done = process.run("serve", **{**FREE, "ORDERCTL_COMMAND__BIND": bind})
    assert (done.returncode, done.stdout) == (2, "")
    said, hint = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert said.startswith(f"orderctl: cannot listen at {bind}: address already in use")
    assert "[command] bind" in hint


def test_a_ready_file_that_cannot_be_written(process: Process) -> None:
    """It is said before anything serves."""
    done = process.run("serve", "--ready-file", "gone/ready.json", **FREE)
    assert done.returncode == 2
    assert "the ready file gone/ready.json cannot be written" in done.stderr


def test_the_introduction_fits_80_columns() -> None:
    """With a path of usual length each line can be pasted from a narrow window."""
    text = introduction(BOTH, DemoKeys(Path("/var/lib/orderctl/keys/demo"), None))
    assert max(map(len, text.splitlines())) <= 80


def test_a_path_is_quoted_for_the_shell() -> None:
    """Whatever the directory is called."""
    path = Path("/tmp/it's $HOME/keys/demo")
    assert f"$(cat {shlex.quote(str(path))})" in introduction(BOTH, DemoKeys(path, None))


def test_without_a_demo_key_there_is_nothing_to_paste() -> None:
    """A revoked key is not offered; the addresses are."""
    assert introduction(BOTH, DemoKeys(None, None)).count("\n") == 3


def test_a_server_on_every_interface_is_reached_on_this_one() -> None:
    """The address is printed as it is bound; the request goes where a client can connect."""
    text = introduction(Ready(pid=1, command="http://0.0.0.0:8701"), DemoKeys(Path("/k"), None))
    assert text.startswith("command  http://0.0.0.0:8701\n")
    assert "curl -sS -w '\\n' http://127.0.0.1:8701/v1/orders" in text
