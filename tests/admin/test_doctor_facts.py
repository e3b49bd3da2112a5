"""How `doctor` comes by what it judges: its queries, and this machine's files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orderctl.admin.facts_host import embedded_facts, host_facts
from orderctl.clock import ManualClock
from orderctl.config import Config, load
from orderctl.contracts import named_queries
from orderctl.stores import facts_cassandra, facts_mysql
from orderctl.stores.sqlite.datadir import DataDir
from orderctl.stores.tiers import open_tiers

READS = re.compile(r"(SELECT|SHOW)\b")


@pytest.mark.parametrize(
    ("folder", "module", "asked"),
    [
        ("sql", facts_mysql, r'sql\["(\w+)"|else "(\w+)"\]|QUERIES\)\["(\w+)"'),
        ("cql", facts_cassandra, r'ask\("(\w+)"'),
    ],
)
def test_every_query_is_asked_and_only_reads(folder: str, module: object, asked: str) -> None:
    """None is there that nobody asks, or that is asked for and not there; and nothing is written."""
    known = named_queries(folder, str(vars(module)["QUERIES"]))
    source = Path(str(vars(module)["__file__"])).read_text("utf-8")
    found = {name for match in re.finditer(asked, source) for name in match.groups() if name}
    assert found == set(known)
    assert all(READS.match(query.text) for query in known.values())


def test_a_data_directory_is_looked_at_and_left_alone(tmp_path: Path) -> None:
    """Every database with its schema; of files only those that others could reach."""
    folder = tmp_path / "data"
    DataDir(folder).check()
    open_tiers(Config(), folder, ManualClock()).close()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.db")}
    found = embedded_facts(folder)
    assert [one.path for one in found.databases] == ["hot.db", "cache.db", "log.db", "archive.db"]
    assert all(one.schema == one.wanted for one in found.databases)
    assert [(file.path, file.mode) for file in found.files] == [(str(folder), 0o700)]
    folder.chmod(0o711)
    assert str(folder / "hot.db") in {file.path for file in embedded_facts(folder).files}
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.db")}


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    """The longest mount point above; a space in it is written as the kernel writes it."""
    folder = tmp_path / "my data"
    DataDir(folder).check()
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/sda / ext4 rw 0 0\nsrv:/x {str(tmp_path / 'my data').replace(' ', chr(92) + '040')} nfs4 rw 0 0\n"
        "tmpfs /elsewhere tmpfs rw 0 0\n"
    )
    assert embedded_facts(folder, mounts=mounts).file_system == "nfs4"
    assert embedded_facts(folder, mounts=tmp_path / "none").file_system == ""


def test_files_with_secrets_are_those_that_are_named_or_hold_one(tmp_path: Path) -> None:
    """A configuration without a password in it is everybody's to read; a file that is gone is nobody's."""
    (tmp_path / "password").write_text("s")
    (tmp_path / "password").chmod(0o600)
    file = tmp_path / "orderctl.toml"
    shards = '[[mysql.shards]]\nname = "main"\nhost = "h"\n'
    rest = '[redis]\nnodes = ["h:1"]\n[kafka]\nbrokers = ["h:1"]\n[cassandra]\nhosts = ["h"]\n'

    def secrets(text: str) -> list[str]:
        file.write_text(text)
        return [Path(one.path).name for one in host_facts(load(file, {}), file).secrets]

    assert secrets(shards + rest) == []
    assert secrets(f'{shards}password_file = "{tmp_path / "password"}"\n{rest}') == ["password"]
    assert secrets(f'{shards}password_file = "{tmp_path / "gone"}"\n{rest}password = "s"\n') == ["orderctl.toml"]


def test_this_machine_can_be_looked_at() -> None:
    """Where servers bind to, and how many files may be open."""
    found = host_facts(load(None, {"ORDERCTL_ADMIN__BIND": "0.0.0.0:0"}), None)
    assert found.files_max > 0
    assert found.binds == (("command", "127.0.0.1:8701"), ("query", "127.0.0.1:8702"), ("admin", "0.0.0.0:0"))
