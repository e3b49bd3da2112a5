"""The configuration: what it may say, who comes before whom, and what people are told when it says something else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from orderctl import config
from orderctl.config import Config, as_values, describe, key_types, load, section_types
from orderctl.duration import Duration
from orderctl.errors import ConfigError


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


NOT_SET = {("admin", "bind"): "127.0.0.1:0", ("audit", "path"): "trail.jsonl"}
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
    written = str(NOT_SET[section, key] if default is None else default)
    loaded = load(None, {f"ORDERCTL_{section}__{key}".upper(): written})
    assert as_values(loaded)[section][key] == (written if default is None else default)


@pytest.mark.parametrize(("section", "key"), list(NOT_SET))
def test_what_is_not_set_cannot_be_set_to_nothing(section: str, key: str) -> None:
    """An empty text is a mistake, not a way to say none."""
    assert "expected" in refused(None, {f"ORDERCTL_{section}__{key}".upper(): ""})
