"""The configuration, parsed once into frozen typed sections: file < environment (`ORDERCTL_SECTION__KEY`) < flags.

A key that nobody knows is an error that names the nearest known one, wherever it stands. A secret has a `…_file` twin and is
shown as `***`; no section holds one yet.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import msgspec
from msgspec import Struct

from orderctl.duration import Duration
from orderctl.errors import ConfigError
from orderctl.ids import is_valid_group_count
from orderctl.sections import YEAR_S, Config, LogSection

__all__ = ["Config", "Duration", "LogSection", "as_values", "data_dir", "find_file", "load"]

FILE_DEFAULT = Path("orderctl.toml")
FILE_BYTES_MAX = 1 << 20
DATA_DIR_DEFAULT = Path("orderctl-data")
ENVIRONMENT_PREFIX = "ORDERCTL_"
NOT_SETTINGS = frozenset({"ORDERCTL_CONFIG", "ORDERCTL_DATA_DIR", "ORDERCTL_KEY"})
"""Environment variables of ours that are no settings."""

Values = dict[str, dict[str, Any]]


def find_file(flag: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file to read: the flag's, the environment's, `./orderctl.toml` where there is one, else none."""
    if flag is not None:
        return flag
    if named := environ.get("ORDERCTL_CONFIG"):
        return Path(named)
    return FILE_DEFAULT if os.path.lexists(FILE_DEFAULT) else None


def data_dir(flag: Path | None, environ: Mapping[str, str]) -> Path:
    """Where the embedded tiers keep their files: the flag's, the environment's, else `./orderctl-data`. Absolute."""
    return (flag or Path(environ.get("ORDERCTL_DATA_DIR") or DATA_DIR_DEFAULT)).absolute()


def load(file: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration in `file`, as changed by the environment.

    Raises:
        ConfigError: it cannot be read, or something in it means nothing; the message says where.

    """
    values = _from_file(file) if file is not None else {}
    for name, text in sorted(environ.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS:
            section, key = _place(name)
            values.setdefault(section, {})[key] = _value(name, section, key, _number_or_text(text))
    sections: dict[str, Any] = {section: section_types()[section](**keys) for section, keys in values.items()}
    return Config(**sections)


def as_values(config: Config) -> Values:
    """The configuration as plain values, as `config show` prints it: durations as text, secrets as `***`."""
    return cast("Values", msgspec.to_builtins(config, enc_hook=str))


def section_types() -> dict[str, type[Struct]]:
    """Each section's name and type, in the order of the file."""
    return get_type_hints(Config)


@cache
def key_types(section: str) -> dict[str, Any]:
    """Each key of a section and its type, its meaning in the annotation."""
    return get_type_hints(section_types()[section], include_extras=True)


def describe(wanted: Any) -> tuple[str, str]:
    """What a key means, and what its value may be, in words."""
    annotated, meta = get_args(wanted)
    extra = meta.extra or {}
    if "max_s" in extra:
        above = " above 0" if extra["above_zero"] else ""
        limit = f", at most {Duration(extra['max_s'])}" if extra["max_s"] < YEAR_S else ""
        return meta.description, f"a duration{above} such as 500ms, 2s, 15m or 1h{limit}"
    if "bind" in extra:
        return meta.description, "HOST:PORT with a port from 0 to 65535"
    if "power_of_two" in extra:
        return meta.description, f"a power of two from {meta.ge} to {meta.le}"
    if annotated is int:
        return meta.description, f"an integer from {meta.ge} to {meta.le}"
    if choices := [choice for choice in get_args(annotated) if isinstance(choice, str)]:
        return meta.description, f"one of {', '.join(choices)}"
    limit = f" of at most {meta.max_length} visible ASCII characters" if meta.max_length else ""
    return meta.description, f"text{limit}"


def _from_file(file: Path) -> Values:
    values: Values = {}
    for section, keys in _read(file).items():
        _known(str(file), section)
        if not isinstance(keys, dict):
            raise ConfigError(f"{file}: [{section}] is a section, not a value: write its keys below a line [{section}]")
        values[section] = {}
        for key, value in keys.items():
            _known(str(file), section, key)
            values[section][key] = _value(str(file), section, key, value)
    return values


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file", hint="`orderctl config init` prints one to start from") from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError(f"{file}: larger than {FILE_BYTES_MAX} bytes: this is no configuration file")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error


def _place(variable: str) -> tuple[str, str]:
    """The section and key that an environment variable names."""
    section, separator, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
    if not separator:
        nearest = _nearest(variable, sorted(NOT_SETTINGS))
        raise ConfigError(f"{variable} in the environment is no setting: expected ORDERCTL_SECTION__KEY{nearest}")
    _known(variable, section, key)
    return section, key


def _known(where: str, section: str, key: str | None = None) -> None:
    sections = list(section_types())
    if section not in sections:
        raise ConfigError(f"{where}: there is no section [{section}]{_nearest(section, sections)}")
    if key is not None and key not in (keys := list(key_types(section))):
        raise ConfigError(f"{where}: there is no key `{key}` in [{section}]{_nearest(key, keys)}")


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; there is {', '.join(known)}"


def _value(where: str, section: str, key: str, value: Any) -> Any:
    """`value` as the key's type.

    Raises:
        ConfigError: it cannot be that; the message says what is expected.

    """
    wanted = key_types(section)[key]
    try:
        converted = msgspec.convert(value, wanted, dec_hook=_decode_duration)
        if _keeps_rules(converted, get_args(wanted)[1].extra or {}):
            return converted
    except msgspec.ValidationError:
        pass
    got = json.dumps(value, default=str, ensure_ascii=False)
    shown = got if len(got) <= 60 else got[:57] + "…"
    raise ConfigError(f"{where}: [{section}] {key}: expected {describe(wanted)[1]}, got {shown}")


def _keeps_rules(value: Any, rules: dict[str, Any]) -> bool:
    """Whether `value` keeps the rules that a type's constraints cannot say."""
    if "max_s" in rules:
        return 0.0 <= value <= rules["max_s"] and not (rules["above_zero"] and value == 0)
    if "bind" in rules:
        match = re.fullmatch(r"(?:[^\s:]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", value)
        return match is not None and int(match[1]) <= 65_535
    if "power_of_two" in rules:
        return is_valid_group_count(value)
    return "not_empty" not in rules or value != ""


def _number_or_text(text: str) -> int | str:
    """An environment variable's text, as the number that a file would hold where it is one."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def _decode_duration(wanted: type, value: object) -> object:
    if wanted is Duration and isinstance(value, str):
        return Duration.parse(value)
    raise ValueError("not a duration")
