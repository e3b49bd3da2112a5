"""`orderctl order` against running servers, which it finds by itself in the data directory."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from orderctl.daemons.manifest import names
from tests.acceptance.server import PATIENCE_S, Server, until
from tests.cli.terminal import PROGRAM, SECONDS_MAX, Done, Terminal, environment

MEMBERS = [
    "order_id", "merchant_id", "merchant_ref", "amount", "currency", "payment_method", "metadata", "status",
    "status_reason", "version", "created_at", "updated_at", "deadline_at",
]  # fmt: skip
UNKNOWN_ID = "0197b0de-5c00-7abc-8000-0123456789ab"
_refs = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Both servers, on a data directory of their own."""
    with Server(tmp_path_factory.mktemp("served") / "data") as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def shell(terminal: Terminal, server: Server) -> Terminal:
    """A shell that is elsewhere; all it knows is the data directory."""
    return Shell(terminal.folder, server.data_dir)


class Shell(Terminal):
    """A terminal whose commands name the data directory."""

    def __init__(self, folder: Path, data_dir: Path) -> None:
        super().__init__(folder)
        self.data_dir = str(data_dir)

    def run(self, *arguments: str, **environ: str) -> Done:
        return super().run(*arguments, **{"ORDERCTL_DATA_DIR": self.data_dir, **environ})


def wanted(ref: str | None = None, amount: str = "1999") -> list[str]:
    """The words of a new order."""
    ref = ref or f"cli-{next(_refs)}"
    return [
        "order",
        "create",
        "--merchant-ref",
        ref,
        "--amount",
        amount,
        "--currency",
        "EUR",
        "--payment-method",
        "card",
    ]


def created(shell: Terminal) -> str:
    """A new order's id."""
    return str(json.loads(shell.run(*wanted(), "-o", "json").stdout)["order_id"])


def test_an_order_is_created_changed_and_read(shell: Terminal) -> None:
    """The main job: each answer is the order as over HTTP."""
    made = json.loads(shell.run(*wanted(), "--metadata", "a=b=c", "--timeout-s", "60", "-o", "json").stdout)
    assert list(made) == MEMBERS
    assert (made["merchant_id"], made["status"], made["metadata"]) == ("demo", "pending", {"a": "b=c"})
    order_id, version = made["order_id"], str(made["version"])
    moved = json.loads(
        shell.run("order", "change", order_id, "processing", "--if-version", version, "-o", "json").stdout
    )
    assert (moved["status"], moved["version"]) == ("processing", made["version"] + 1)
    shell.run("order", "change", order_id, "failed", "--status-reason", "no money")
    read = json.loads(shell.run("order", "get", order_id, "-o", "jsonl").stdout)
    assert (read["status"], read["status_reason"]) == ("failed", "no money")


def test_json_is_the_bytes_of_the_server(shell: Terminal, server: Server) -> None:
    """Nothing is parsed and written anew."""
    order_id = created(shell)
    assert shell.run("order", "get", order_id, "-o", "json").stdout.encode() == (
        server.query("GET", f"/v1/orders/{order_id}").body + b"\n"
    )


def test_a_table_for_people(shell: Terminal) -> None:
    """Names and values below each other; what merchants sent does not steer the terminal."""
    done = shell.run(*wanted(), "--metadata", "colour=\x1b[31m")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["merchant_id"] == "demo"
    assert lines["status_reason"] == "-"
    assert lines["metadata.colour"] == "\\x1b[31m"


def test_the_same_reference_again(shell: Terminal) -> None:
    """The same order, with a word on stderr; another body is refused with exit 2."""
    words = wanted()
    first, second = shell.run(*words, "-o", "json"), shell.run(*words, "-o", "json")
    assert first.stdout == second.stdout
    assert (first.stderr, second.returncode) == ("", 0)
    assert "nothing was written" in second.stderr
    assert shell.refuses(*wanted(words[3], amount="1"), code=2).endswith("(422)")


def test_what_is_refused_says_why(shell: Terminal) -> None:
    """Every place that is wrong, in one line; 400, 401, 403, 409 and 412 are exit 2, 404 is exit 3."""
    order_id = created(shell)
    said = shell.refuses(*wanted(amount="0"), "--timeout-s", "0", code=2)
    assert "/amount: " in said
    assert "/timeout_s: " in said
    assert said.endswith("(400)")
    assert "(401)" in shell.refuses("order", "get", order_id, code=2, ORDERCTL_KEY="ok_nope")
    assert "(403)" in shell.refuses("order", "change", order_id, "timeout", code=2)
    assert "(412)" in shell.refuses("order", "change", order_id, "success", "--if-version", "999", code=2)
    shell.run("order", "change", order_id, "success")
    assert "(409)" in shell.refuses("order", "change", order_id, "failed", code=2)
    assert "(404)" in shell.refuses("order", "get", UNKNOWN_ID, code=3)
    assert "(404)" in shell.refuses("order", "watch", UNKNOWN_ID, code=3)
    assert "(404)" in shell.refuses("order", "change", UNKNOWN_ID, "success", code=3)


@pytest.mark.parametrize("order_id", ["x", "../orders/lookup", "", UNKNOWN_ID.replace("-7", "-4"), "%2e%2e"])
def test_what_is_no_order_id(shell: Terminal, order_id: str) -> None:
    """It is refused before anybody is asked."""
    assert "not an order id: expected a UUIDv7" in shell.refuses("order", "get", order_id, code=2)


def test_whose_key_is_used(shell: Terminal, server: Server) -> None:
    """`--key-file` comes before ORDERCTL_KEY, and that before the data directory's own."""
    order_id = created(shell)
    mine = shell.folder / "mine"
    mine.write_text(server.key("demo"))
    cancel = ["order", "change", order_id, "success"]
    assert "(403)" in shell.refuses(*cancel, code=2, ORDERCTL_KEY=server.key("demo"))
    assert "(403)" in shell.refuses(*cancel, "--key-file", str(mine), code=2, ORDERCTL_KEY=server.key("gateway"))
    assert shell.run(*cancel).returncode == 0
    assert f"{mine}x cannot be read" in shell.refuses(*cancel, "--key-file", f"{mine}x", code=2)
    assert "ORDERCTL_KEY holds no key" in shell.refuses(*cancel, code=2, ORDERCTL_KEY="a b")


def test_a_key_that_is_made_and_revoked_while_servers_run(shell: Terminal) -> None:
    """A new key opens soon, and a revoked one does not any more."""
    made = json.loads(shell.run("key", "create", "--merchant", "acme", "-o", "json").stdout)
    until(
        lambda: shell.run(*wanted("acme-1"), ORDERCTL_KEY=made["key"]).returncode == 0,
        seconds=PATIENCE_S,
        what="the new key opens",
    )
    shell.run("key", "revoke", made["key_id"])
    until(
        lambda: shell.run(*wanted("acme-1"), ORDERCTL_KEY=made["key"]).returncode == 2,
        seconds=PATIENCE_S,
        what="the revoked key opens nothing",
    )


def test_status_shows_who_runs(shell: Terminal) -> None:
    """All daemons run and all tiers are up: exit 0."""
    done = shell.run("status", "-o", "json")
    shown = json.loads(done.stdout)
    assert done.returncode == 0
    assert {one["name"]: one["state"] for one in shown["daemons"]} == dict.fromkeys(names(), "running")
    assert all(one["state"] == "up" and one["latency_ms"] >= 0 for one in shown["tiers"])


def test_inspect_follows_an_order_to_the_archive(shell: Terminal) -> None:
    """Beside running daemons: consistent at every moment, and in the end the archive has it and the hot store does not."""
    order_id = created(shell)
    assert shell.run("inspect", order_id).returncode == 0
    shell.run("order", "change", order_id, "success")

    def is_archived() -> bool:
        done = shell.run("inspect", order_id, "-o", "json")
        assert done.returncode == 0, done.stdout
        tiers = json.loads(done.stdout)["tiers"]
        return bool(tiers["archive"]["present"] and not tiers["hot"]["present"])

    until(is_archived, seconds=PATIENCE_S, what="the order is archived")


class Watching:
    """`order watch` under way."""

    def __init__(self, shell: Terminal, server: Server, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, "order", "watch", *arguments, "--data-dir", str(server.data_dir)],
            cwd=shell.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=SECONDS_MAX)
        return self.process.returncode, out, err


def test_watch_ends_with_0_at_a_final_state(shell: Terminal, server: Server) -> None:
    """The current state at once, a line a version, and 0 at the end, even for `failed`."""
    order_id = created(shell)
    watching = Watching(shell, server, order_id)
    assert watching.line().split()[-1] == "pending"
    shell.run("order", "change", order_id, "processing")
    assert watching.line().split()[-1] == "processing"
    shell.run("order", "change", order_id, "failed", "--status-reason", "no money")
    code, out, err = watching.end()
    assert (code, err) == (0, "")
    assert out.split()[-3:] == ["failed", "no", "money"]


def test_watch_of_a_final_order_ends_at_once(shell: Terminal, server: Server) -> None:
    """As JSON each line is the order."""
    order_id = created(shell)
    shell.run("order", "change", order_id, "success")
    code, out, err = Watching(shell, server, order_id, "-o", "json").end()
    assert (code, err, json.loads(out)["status"]) == (0, "", "success")


def test_watch_is_interrupted(shell: Terminal, server: Server) -> None:
    """Ctrl-C ends it with 130, without a word."""
    watching = Watching(shell, server, created(shell))
    watching.line()
    watching.process.send_signal(signal.SIGINT)
    assert watching.end() == (130, "", "")


def test_watch_is_bounded_if_asked(shell: Terminal, server: Server) -> None:
    """Without `--timeout` it goes on; with it, it ends with 5."""
    code, out, err = Watching(shell, server, created(shell), "--timeout", "500ms").end()
    assert (code, err) == (5, "orderctl: no end within 500ms: the order is not final yet\n")
    assert len(out.splitlines()) <= 1


def test_watch_whose_reader_leaves(shell: Terminal, server: Server) -> None:
    """A closed pipe is 0, here at the next version."""
    order_id = created(shell)
    watching = Watching(shell, server, order_id)
    watching.line()
    assert watching.process.stdout is not None
    assert watching.process.stderr is not None
    watching.process.stdout.close()
    shell.run("order", "change", order_id, "processing")
    assert watching.process.wait(SECONDS_MAX) == 0
    assert watching.process.stderr.read() == ""
    watching.process.stderr.close()
