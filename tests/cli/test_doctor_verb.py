"""`orderctl doctor` as an operator runs it, on an embedded deployment."""

from __future__ import annotations

import json

from orderctl.admin.checks import Checked, Seen, State
from orderctl.admin.doctor import TierSeen, diagnosis
from orderctl.cli.doctor import table
from tests.cli.terminal import Terminal

EMBEDDED = {"ORDERCTL_DATA_DIR": "data"}
LONG = "a rather long explanation that goes on and on " * 4


def founded(terminal: Terminal) -> None:
    """A data directory that was started once."""
    assert terminal.run("key", "create", "--merchant", "m", "--role", "merchant", **EMBEDDED).returncode == 0


def checked(name: str, state: State) -> Checked:
    """A check that ended so, at two places of which the second is worse."""
    places = [Seen("db1", State.OK, "1", "1"), Seen("db2", state, LONG, "1")]
    return Checked(name=name, tier="hot", state=state, why=LONG, mend=LONG, seen=places)


def test_an_embedded_deployment_is_sound(terminal: Terminal) -> None:
    """Exit 0; what is well is shown when asked for."""
    founded(terminal)
    done = terminal.run("doctor", "--all", **EMBEDDED)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok     embedded databases: schema" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("7 checks: 0 to mend, ")


def test_a_data_directory_that_others_may_read_is_a_finding(terminal: Terminal) -> None:
    """Exit 1, with why and what helps; JSON says the same."""
    founded(terminal)
    (terminal.folder / "data").chmod(0o755)
    done = terminal.run("doctor", **EMBEDDED)
    assert done.returncode == 1
    assert done.stdout.startswith("WRONG  embedded permissions\n")
    assert "0755; wanted: nobody but the owner\n" in done.stdout
    assert "-> chmod -R go= DIR." in done.stdout
    found = json.loads(terminal.run("doctor", "-o", "json", **EMBEDDED).stdout)
    assert found["state"] == "finding"
    assert found["tiers"] == [{"name": "embedded", "kind": "sqlite", "error": None}]
    [wrong] = [check for check in found["checks"] if check["state"] == "finding"]
    assert list(wrong) == ["name", "tier", "state", "why", "mend", "seen"]
    assert wrong["seen"][0] == {
        "where": str(terminal.folder / "data"),
        "state": "finding",
        "found": "0755",
        "wanted": "nobody but the owner",
    }


def test_a_lost_database_is_a_finding(terminal: Terminal) -> None:
    """Nothing is made in its place."""
    founded(terminal)
    (terminal.folder / "data" / "cache.db").unlink()
    done = terminal.run("doctor", **EMBEDDED)
    assert done.returncode == 1
    assert "cache.db: missing" in done.stdout
    assert not (terminal.folder / "data" / "cache.db").exists()


def test_where_nothing_was_started_there_is_nothing_to_look_at(terminal: Terminal) -> None:
    """Exit 3, and nothing is made."""
    assert "nothing was ever started" in terminal.refuses("doctor", code=3, **EMBEDDED)
    assert not (terminal.folder / "data").exists()


def test_a_secret_in_a_file_that_others_may_read_is_a_finding(terminal: Terminal) -> None:
    """The configuration's own, and those that it names; a tier that is away is exit 4 all the same."""
    password = terminal.folder / "password"
    password.write_text("s")
    password.chmod(0o644)
    (terminal.folder / "orderctl.toml").write_text(
        '[[mysql.shards]]\nname = "main"\nhost = "127.0.0.1"\nport = 1\npassword = "s"\n'
        f'[redis]\nnodes = ["127.0.0.1:1"]\npassword_file = "{password}"\n'
        '[kafka]\nbrokers = ["127.0.0.1:1"]\n[cassandra]\nhosts = ["127.0.0.1"]\nport = 1\n'
    )
    (terminal.folder / "orderctl.toml").chmod(0o640)
    done = terminal.run("doctor")
    assert done.returncode == 4
    assert "WRONG  host secret_files" in done.stdout
    assert "orderctl.toml: 0640" in " ".join(done.stdout.split())
    for kind in ("mysql", "redis", "kafka", "cassandra"):
        assert f"{kind} is away: " in done.stdout
    assert "not known" in done.stdout.splitlines()[-1]


def test_a_diagnosis_reads_well_at_80_columns() -> None:
    """What is wrong comes first, only the places where it is, and whatever a server says is wrapped."""
    checks = [
        checked("a", State.OK),
        checked("b", State.NOTE),
        checked("c", State.FINDING),
        checked("d", State.UNKNOWN),
    ]
    shown = table(diagnosis([TierSeen("hot", "mysql"), TierSeen("log", "kafka", LONG)], checks), all_=True)
    heads = [line.split()[0] for line in shown.splitlines() if line.startswith(("WRONG", "?", "note", "ok"))]
    assert heads == ["WRONG", "?", "note", "ok"]
    assert max(map(len, shown.splitlines())) <= 80
    assert "db1" not in shown
    assert shown.endswith("4 checks: 1 to mend, 1 to note, 1 well, 1 not known\n")
