"""The configuration: what it may say, who comes before whom, and what people are told when it says something else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from orderctl import config
from orderctl.config import Config, as_values, is_embedded, key_types, load, section_types
from orderctl.config_keys import describe
from orderctl.duration import Duration
from orderctl.errors import ConfigError
from orderctl.secret import Secret, read_secret


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its configuration."""
    return tmp_path / "orderctl.toml"


def refused(file: Path | None, environ: dict[str, str] | None = None) -> str:
    """What is said about a configuration that is refused."""
    with pytest.raises(ConfigError) as refusal:
        load(file, environ or {})
    assert refusal.value.exit_code == 2
    return str(refusal.value)


def test_nothing_said_is_the_defaults() -> None:
    """Without a file and without an environment there are the defaults."""
    assert load(None, {"PATH": "/bin", "HOME": "/"}) == Config()


def test_the_environment_comes_before_the_file(file: Path) -> None:
    """A key in the environment replaces the file's, and leaves the others."""
    file.write_text('[http]\nbacklog = 64\nlinger = "1ms"\n[log]\nlevel = "error"\n')
    loaded = load(file, {"ORDERCTL_HTTP__BACKLOG": "128", "ORDERCTL_COMMAND__BIND": "127.0.0.1:0"})
    assert (loaded.http.backlog, loaded.http.linger, loaded.log.level) == (128, Duration(0.001), "error")
    assert loaded.command.bind == "127.0.0.1:0"


def test_variables_of_ours_that_are_no_settings_are_passed_over() -> None:
    """The variables that name the file, the directory and the key are no settings."""
    assert load(None, dict.fromkeys(config.NOT_SETTINGS, "x")) == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[http]\nbacklog = "x"', '[http] backlog: expected an integer from 16 to 65535, got "x"'),
        ("[http]\nbacklog = 3", "[http] backlog: expected an integer from 16 to 65535, got 3"),
        ("[http]\nbacklog = true", "[http] backlog: expected an integer from 16 to 65535, got true"),
        ("[http]\nbacklog = 64.0", "[http] backlog: expected an integer from 16 to 65535, got 64.0"),
        (
            "[http]\nbody_timeout = 10",
            "[http] body_timeout: expected a duration above 0 such as 500ms, 2s, 15m or 1h, got 10",
        ),
        ('[http]\nbody_timeout = "0s"', "[http] body_timeout: expected a duration above 0"),
        ('[command]\ntentative_ttl = "11s"', "expected a duration above 0 such as 500ms, 2s, 15m or 1h, at most 10s"),
        ('[log]\nlevel = "loud"', '[log] level: expected one of debug, info, warning, error, got "loud"'),
        ("[log]\nlevel = []", "[log] level: expected one of debug, info, warning, error, got []"),
        ("[deployment]\ngroups = 12", "[deployment] groups: expected a power of two from 1 to 4096, got 12"),
        ("[deployment]\ngroups = 8192", "[deployment] groups: expected a power of two from 1 to 4096, got 8192"),
        ('[query]\nbind = "8702"', '[query] bind: expected HOST:PORT with a port from 0 to 65535, got "8702"'),
        ('[query]\nbind = "h:65536"', '[query] bind: expected HOST:PORT with a port from 0 to 65535, got "h:65536"'),
        ('[query]\nbind = "::1:80"', "[query] bind: expected HOST:PORT"),
        ("[daemon]\ninstance = 7", "[daemon] instance: expected text of at most 64 visible ASCII characters, got 7"),
        (
            "[daemon]\ninstance = 1979-05-27",
            '[daemon] instance: expected text of at most 64 visible ASCII characters, got "1979',
        ),
        ("[http]\nbaklog = 64", "there is no key `baklog` in [http]; did you mean backlog?"),
        ('[redis]\nnodes = "a:1"', '[redis] nodes: expected a list of HOST:PORT, got "a:1"'),
        ('[redis]\nnodes = ["a:1", "b"]', '[redis] nodes: expected a list of HOST:PORT, got ["a:1", "b"]'),
        ('[cassandra]\nhosts = [""]', '[cassandra] hosts: expected a list of HOST, got [""]'),
        ("[redis]\npassword = 12345", "[redis] password: expected text, got something else"),
        ('[redis]\npassword = "a"\npassword_file = "f"', "[redis] has both `password` and `password_file`: keep one"),
        ("[mysql]\nshards = 3", "[mysql] shards: expected tables with name, host, port, user, password"),
        ("[mysql]\nshards = [3]", "[mysql] shards: expected tables with name, host, port, user, password"),
        ('[[mysql.shards]]\nname = "a"', "[[mysql.shards]]: `host` is missing: text"),
        ('[[mysql.shards]]\nhots = "a"', "there is no key `hots` in [[mysql.shards]]; did you mean host?"),
        ('[[mysql.shards]]\nport = "x"', '[[mysql.shards]] port: expected an integer from 1 to 65535, got "x"'),
        ('[[mysql.shards]]\ngroups = "3"', '[[mysql.shards]] groups: expected a range such as 0-31, got "3"'),
        ('[[mysql.shards]]\nname = "Ä"', '[[mysql.shards]] name: expected a name such as main, got "Ä"'),
        (
            '[[mysql.shards]]\nname = "a"\nhost = "h"\npassword = "a"\npassword_file = "f"',
            "[[mysql.shards]] has both `password` and `password_file`: keep one",
        ),
        ("[htp]\nbacklog = 64", "there is no section [htp]; did you mean http?"),
        ("[zzzzzz]\n", "there is no section [zzzzzz]; there is log, daemon, http"),
        ("http = 3", "[http] is a section, not a value"),
        ("[http\n", "not valid TOML: "),
        ("[http]\nbacklog = 64\nbacklog = 65\n", "not valid TOML: "),
    ],
)
def test_what_means_nothing_is_named_with_its_place(file: Path, text: str, said: str) -> None:
    """The message names the file, the key, what is expected and what is there, in one line."""
    file.write_text(text)
    message = refused(file)
    assert message.startswith(f"{file}: ")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "ORDERCTL_HTTP__BACKLOG",
            "many",
            'ORDERCTL_HTTP__BACKLOG: [http] backlog: expected an integer from 16 to 65535, got "many"',
        ),
        (
            "ORDERCTL_HTTP__BAKLOG",
            "64",
            "ORDERCTL_HTTP__BAKLOG: there is no key `baklog` in [http]; did you mean backlog?",
        ),
        ("ORDERCTL_HTP__BACKLOG", "64", "ORDERCTL_HTP__BACKLOG: there is no section [htp]; did you mean http?"),
        (
            "ORDERCTL_DATADIR",
            "d",
            "ORDERCTL_DATADIR in the environment is no setting: expected ORDERCTL_SECTION__KEY; did you mean ORDERCTL_DATA",
        ),
        ("ORDERCTL_", "d", "ORDERCTL_ in the environment is no setting"),
        (
            "ORDERCTL_QUERY__BIND",
            "",
            "ORDERCTL_QUERY__BIND: [query] bind: expected HOST:PORT with a port from 0 to 65535",
        ),
    ],
)
def test_the_environment_is_held_to_the_same(name: str, text: str, said: str) -> None:
    """A variable that means nothing is an error as in a file, and is named."""
    assert refused(None, {name: text}).startswith(said)


def test_a_file_that_is_not_there_has_a_hint(file: Path) -> None:
    """A missing file is named, with what writes one."""
    with pytest.raises(ConfigError, match="no such file") as refusal:
        load(file, {})
    assert "config init" in str(refusal.value.hint)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """A directory in the file's place is named."""
    assert refused(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_file_that_cannot_be_opened(file: Path) -> None:
    """What the system says is passed on; here a link to itself, which nobody's permissions help with."""
    file.symlink_to(file)
    assert refused(file) == f"{file}: cannot be read: Too many levels of symbolic links"


def test_a_file_that_is_not_text(file: Path) -> None:
    """Bytes that are no UTF-8 are named by their place."""
    file.write_bytes(b"[log]\n\xff\xfe")
    assert refused(file) == f"{file}: not UTF-8 text: byte 6 is 0xff"


def test_a_file_too_large_to_be_a_configuration(file: Path) -> None:
    """Reading is bounded."""
    file.write_bytes(b"#" * (config.FILE_BYTES_MAX + 1))
    assert "this is no configuration file" in refused(file)


def test_a_long_value_is_shown_shortened(file: Path) -> None:
    """A message stays one readable line, whatever the file holds."""
    file.write_text(f'[log]\nlevel = "{"x" * 5000}"')
    assert len(refused(file)) < 300


def test_an_empty_file_is_the_defaults(file: Path) -> None:
    """A file need not say anything."""
    file.write_text("# nothing\n")
    assert load(file, {}) == Config()


SERVERS = {
    "mysql": '[[mysql.shards]]\nname = "main"\nhost = "db"\npassword = "top secret"\n',
    "redis": '[redis]\nnodes = ["a:1", "b:2"]\npassword_file = "of-the-file"\n',
    "kafka": '[kafka]\nbrokers = ["k:9092"]\n',
    "cassandra": '[cassandra]\nhosts = ["c"]\n',
}


class TestServers:
    """The sections that name the real tiers' servers."""

    def test_all_of_them_or_none(self, file: Path) -> None:
        """Without any all is embedded; a mixture is refused, and what is missing is named."""
        assert is_embedded(Config())
        file.write_text("".join(SERVERS.values()))
        assert not is_embedded(load(file, {}))
        for tier in SERVERS:
            file.write_text("".join(text for name, text in SERVERS.items() if name != tier))
            with pytest.raises(ConfigError, match=rf"has no \[+{tier}") as refusal:
                is_embedded(load(file, {}))
            assert "," not in str(refusal.value)

    def test_a_shard_is_a_table_with_defaults(self, file: Path) -> None:
        """Its name and host are what one has to say; the order of shards is kept."""
        file.write_text(
            '[[mysql.shards]]\nname = "b"\nhost = "h"\n[[mysql.shards]]\nname = "a"\nhost = "h"\nport = 1\n'
        )
        first, second = load(file, {}).mysql.shards
        assert (first.name, first.port, first.user, first.database) == ("b", 3306, "orderctl", "orderctl")
        assert (second.name, second.port) == ("a", 1)

    def test_secrets_are_not_shown(self, file: Path) -> None:
        """Neither as values nor when the configuration is printed; a twin's path is."""
        file.write_text("".join(SERVERS.values()))
        loaded = load(file, {"ORDERCTL_CASSANDRA__PASSWORD": "hush"})
        for shown in (str(as_values(loaded)), repr(loaded), str(loaded)):
            assert "***" in shown
            assert "of-the-file" in shown
            assert "top secret" not in shown
            assert "hush" not in shown
        assert read_secret(loaded.mysql.shards[0].password, None) == "top secret"

    def test_the_environment_replaces_a_twin(self, file: Path) -> None:
        """A password in the environment stands for the file's, in whichever way the file says it; two are too many."""
        file.write_text(SERVERS["redis"])
        redis = load(file, {"ORDERCTL_REDIS__PASSWORD": "new"}).redis
        assert (redis.password, redis.password_file) == (Secret("new"), None)
        both = {"ORDERCTL_REDIS__PASSWORD": "new", "ORDERCTL_REDIS__PASSWORD_FILE": "f"}
        assert "has both" in refused(None, both)

    def test_a_secret_in_a_file(self, file: Path) -> None:
        """Its text without the end of the line; a file that is missing or empty is named, without its content."""
        assert read_secret(None, None) is None
        file.write_text(" a b \n")
        assert read_secret(None, str(file)) == " a b "
        for content, said in ((b"\n", "empty"), (b"\xff", "utf-8")):
            file.write_bytes(content)
            with pytest.raises(ConfigError, match=said):
                read_secret(None, str(file))
        with pytest.raises(ConfigError, match="No such file"):
            read_secret(None, "gone")

    def test_secrets_compare_and_hash_by_their_text(self) -> None:
        """And are never equal to the text itself."""
        assert Secret("a") == Secret("a") != Secret("b")
        assert hash(Secret("a")) == hash(Secret("a"))
        assert Secret("a") != "a"
        assert repr(Secret("a")) == "Secret('***')"


class TestWhere:
    """Which file and which directory are used."""

    def test_flag_then_environment_then_here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The flag comes before the environment, that before the file in the working directory."""
        monkeypatch.chdir(tmp_path)
        assert config.find_file(None, {}) is None
        Path("orderctl.toml").touch()
        assert config.find_file(None, {}) == Path("orderctl.toml")
        assert config.find_file(None, {"ORDERCTL_CONFIG": ""}) == Path("orderctl.toml")
        assert config.find_file(None, {"ORDERCTL_CONFIG": "e.toml"}) == Path("e.toml")
        assert config.find_file(Path("f.toml"), {"ORDERCTL_CONFIG": "e.toml"}) == Path("f.toml")

    def test_a_link_to_nowhere_is_not_passed_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that somebody meant to be there, and is not, is an error."""
        monkeypatch.chdir(tmp_path)
        Path("orderctl.toml").symlink_to("gone.toml")
        assert refused(config.find_file(None, {})) == "orderctl.toml: no such file"

    def test_the_data_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The flag comes before the environment, and what is found is absolute."""
        monkeypatch.chdir(tmp_path)
        assert config.data_dir(None, {}) == tmp_path / "orderctl-data"
        assert config.data_dir(None, {"ORDERCTL_DATA_DIR": ""}) == tmp_path / "orderctl-data"
        assert config.data_dir(None, {"ORDERCTL_DATA_DIR": "/e"}) == Path("/e")
        assert config.data_dir(Path("f"), {"ORDERCTL_DATA_DIR": "/e"}) == tmp_path / "f"


NOT_SET = {
    ("admin", "bind"): "127.0.0.1:0",
    ("audit", "path"): "trail.jsonl",
    ("mysql", "shards"): '[{"name": "main", "host": "db"}]',
    ("redis", "nodes"): "a:1, b:2",
    ("redis", "username"): "u",
    ("redis", "password"): "7",
    ("redis", "password_file"): "f",
    ("kafka", "brokers"): "a:1",
    ("cassandra", "hosts"): "a,b",
    ("cassandra", "user"): "u",
    ("cassandra", "password"): "p",
    ("cassandra", "password_file"): "f",
}
"""The keys that have no default, and something that they may be."""


def every_key() -> list[tuple[str, str, Any]]:
    """Each section, key and type."""
    return [(section, key, wanted) for section in section_types() for key, wanted in key_types(section).items()]


@pytest.mark.parametrize(("section", "key", "wanted"), every_key())
def test_every_key_has_a_meaning_and_every_default_keeps_its_own_rules(section: str, key: str, wanted: Any) -> None:
    """A key is described, and what it is by default could have been written."""
    meaning, expected = describe(wanted)
    assert re.fullmatch(r"[A-Z/].*[^.]", meaning)
    assert expected
    default = as_values(Config())[section][key]
    written = NOT_SET.get((section, key), str(default))
    loaded = as_values(load(None, {f"ORDERCTL_{section}__{key}".upper(): written}))[section][key]
    if (section, key) in NOT_SET:
        assert default in {None, ()}
        assert loaded != default
    else:
        assert loaded == default


@pytest.mark.parametrize(("section", "key"), list(NOT_SET))
def test_what_is_not_set_cannot_be_set_to_nothing(section: str, key: str) -> None:
    """An empty text is a mistake, not a way to say none."""
    assert "expected" in refused(None, {f"ORDERCTL_{section}__{key}".upper(): ""})
