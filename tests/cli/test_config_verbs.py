"""`orderctl config`: show, check and init, and what a broken configuration does to every command."""

from __future__ import annotations

import json
import tomllib

import pytest

from orderctl.admin.config_init import config_text
from orderctl.config import Config, as_values, load
from orderctl.config_keys import keys_of
from orderctl.sections import ShardSection
from tests.cli.terminal import Terminal


def test_init_prints_what_the_defaults_say(terminal: Terminal) -> None:
    """What is printed can be used as it is, and changes nothing."""
    done = terminal.run("config", "init")
    assert (done.returncode, done.stderr) == (0, "")
    file = terminal.folder / "my.toml"
    file.write_text(done.stdout)
    assert load(file, {}) == Config()


def test_init_has_every_key() -> None:
    """A key without a default stands there as a comment, as tables do; every other one with its value."""
    written = tomllib.loads(config_text())
    for section, keys in as_values(Config()).items():
        for key, value in keys.items():
            if key == "shards":
                assert f"# [[{section}.{key}]]" in config_text()
            elif value in {None, ()}:
                assert f"# {key} = " in config_text()
            else:
                assert written[section][key] == value
    assert {f"# {key} = " in config_text() for key in keys_of(ShardSection)} == {True}
    assert max(map(len, config_text().splitlines())) <= 80


def test_init_writes_and_never_over_an_old_one(terminal: Terminal) -> None:
    """The second time it is refused, and the file is what it was."""
    assert terminal.run("config", "init", "--write").stdout == 'wrote "orderctl.toml"\n'
    file = terminal.folder / "orderctl.toml"
    assert file.read_text() == config_text()
    file.write_text("# mine\n")
    assert (
        terminal.refuses("config", "init", "--write", code=2) == "orderctl.toml is there already, and is left as it is"
    )
    assert file.read_text() == "# mine\n"
    assert sorted(path.name for path in terminal.folder.iterdir()) == ["orderctl.toml"]


def test_init_writes_where_config_says(terminal: Terminal) -> None:
    """`--config` names the file to write; a folder that is not there is said."""
    assert terminal.run("config", "init", "--write", "--config", "new.toml").returncode == 0
    assert (terminal.folder / "new.toml").read_text() == config_text()
    said = terminal.refuses("config", "init", "--write", "--config", "gone/new.toml", code=2)
    assert said == "gone/new.toml cannot be written: No such file or directory"


def test_show_is_what_is_in_force(terminal: Terminal) -> None:
    """The file, changed by the environment; as JSON it is sections of keys."""
    (terminal.folder / "orderctl.toml").write_text('[log]\nlevel = "error"\n[http]\nlinger = "1ms"\n')
    done = terminal.run("config", "show", "-o", "json", ORDERCTL_HTTP__LINGER="2ms")
    shown = json.loads(done.stdout)
    assert (shown["log"]["level"], shown["http"]["linger"], shown["http"]["backlog"]) == ("error", "2ms", 1024)
    assert set(shown) == set(as_values(Config()))
    assert "orderctl.toml" in done.stderr


def test_show_as_a_table(terminal: Terminal) -> None:
    """A line for each key."""
    lines = terminal.run("config", "show").stdout.splitlines()
    assert lines[0].split() == ["SECTION", "KEY", "VALUE"]
    assert ["deployment", "groups", "64"] in [line.split() for line in lines]


def test_show_lists_and_tables_in_a_table(terminal: Terminal) -> None:
    """A list is one value; a table of settings has a line for each of them."""
    text = '[redis]\nnodes = ["a:1", "b:2"]\n[[mysql.shards]]\nname = "main"\nhost = "db"\n'
    (terminal.folder / "orderctl.toml").write_text(text)
    lines = [line.split() for line in terminal.run("config", "show").stdout.splitlines()]
    for line in (
        ["redis", "nodes", "a:1,", "b:2"],
        ["mysql.shards", "host", "db"],
        ["mysql.shards", "port", "3306"],
        ["kafka", "brokers", "-"],
    ):
        assert line in lines


def test_show_hides_secrets(terminal: Terminal) -> None:
    """In a table and as JSON, in sections and in tables of them."""
    text = '[redis]\npassword = "hush"\n[[mysql.shards]]\nname = "main"\nhost = "db"\npassword = "hush"\n'
    (terminal.folder / "orderctl.toml").write_text(text)
    for output in ("table", "json", "jsonl"):
        done = terminal.run("config", "show", "-o", output)
        assert done.stdout.count("***") == 2
        assert "hush" not in done.stdout + done.stderr


def test_check_says_that_all_is_well(terminal: Terminal) -> None:
    """With a file and without."""
    assert json.loads(terminal.run("config", "check", "-o", "json").stdout) == {"file": None, "valid": True}
    (terminal.folder / "orderctl.toml").touch()
    assert terminal.run("config", "check").stdout == "orderctl.toml: valid\n"


EVERY_COMMAND = [
    ["config", "check"],
    ["config", "show"],
    ["serve"],
    ["migrate"],
    ["status"],
    ["key", "list"],
    ["key", "create", "--merchant", "m"],
]


@pytest.mark.parametrize("arguments", EVERY_COMMAND, ids=" ".join)
def test_a_broken_file_stops_every_command_and_destroys_nothing(terminal: Terminal, arguments: list[str]) -> None:
    """One clear line, exit 2, nothing made and the file as it was."""
    file = terminal.folder / "orderctl.toml"
    file.write_text("[http]\nbaklog = 64\n")
    said = terminal.refuses(*arguments, code=2)
    assert said == "orderctl.toml: there is no key `baklog` in [http]; did you mean backlog?"
    assert file.read_text() == "[http]\nbaklog = 64\n"
    assert list(terminal.folder.iterdir()) == [file]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "orderctl.toml: not UTF-8 text: byte 0 is 0xff"),
        (b"[http", "orderctl.toml: not valid TOML: "),
        (b"[http]\nbacklog = 'x'", '[http] backlog: expected an integer from 16 to 65535, got "x"'),
    ],
)
def test_what_is_wrong_with_a_file_is_said(terminal: Terminal, content: bytes, said: str) -> None:
    """One clear line."""
    (terminal.folder / "orderctl.toml").write_bytes(content)
    assert said in terminal.refuses("serve", code=2)


def test_the_environment_is_checked_too(terminal: Terminal) -> None:
    """A variable that names no key is an error, as in a file."""
    said = terminal.refuses("serve", code=2, ORDERCTL_HTTP__BAKLOG="64")
    assert said == "ORDERCTL_HTTP__BAKLOG: there is no key `baklog` in [http]; did you mean backlog?"


def test_a_file_that_is_named_must_be_there(terminal: Terminal) -> None:
    """By the flag or by the environment."""
    assert terminal.refuses("config", "check", "--config", "no.toml", code=2) == "no.toml: no such file"
    assert terminal.refuses("config", "check", code=2, ORDERCTL_CONFIG="no.toml") == "no.toml: no such file"
