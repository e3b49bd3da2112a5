"""The configuration, parsed once into frozen typed sections: file < environment (`ORDERCTL_SECTION__KEY`) < flags.

A key that nobody knows is an error that names the nearest known one, wherever it stands. A secret has a `…_file` twin and is
shown as `***`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_type_hints

import msgspec
from msgspec import Struct

from orderctl.config_keys import (
    converted,
    from_text,
    keys_of,
    nearest,
    require_key,
    require_one_of_twins,
    twin_of,
)
from orderctl.duration import Duration
from orderctl.errors import ConfigError
from orderctl.sections import Config, LogSection

__all__ = ["Config", "Duration", "LogSection", "as_values", "data_dir", "find_file", "is_embedded", "load"]

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
    settings = sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS)
    said = {_place(name): name for name in settings}
    for (section, key), name in said.items():
        keys, wanted = values.setdefault(section, {}), key_types(section)[key]
        if (section, twin_of(key)) not in said:
            keys.pop(twin_of(key), None)  # the file's; two in the environment contradict each other
        keys[key] = converted(name, f"[{section}] {key}", wanted, from_text(wanted, environ[name]))
    for section, keys in values.items():
        require_one_of_twins(str(file or "the environment"), f"[{section}]", keys)
    sections: dict[str, Any] = {section: section_types()[section](**keys) for section, keys in values.items()}
    return Config(**sections)


def as_values(config: Config) -> Values:
    """The configuration as plain values, as `config show` prints it: durations as text, secrets as `***`."""
    return cast("Values", msgspec.to_builtins(config, enc_hook=str))


def is_embedded(config: Config) -> bool:
    """Whether all tiers are embedded, because the configuration names no server.

    Raises:
        ConfigError: it names some tiers' servers and not the others': there is no such mixture.

    """
    named = {
        "[[mysql.shards]]": config.mysql.shards,
        "[redis] nodes": config.redis.nodes,
        "[kafka] brokers": config.kafka.brokers,
        "[cassandra] hosts": config.cassandra.hosts,
    }
    missing = [name for name, servers in named.items() if not servers]
    if missing and len(missing) < len(named):
        raise ConfigError(
            f"the configuration has no {', '.join(missing)}",
            hint="a deployment has all four tiers' servers, or none and is embedded",
        )
    return bool(missing)


def section_types() -> dict[str, type[Struct]]:
    """Each section's name and type, in the order of the file."""
    return get_type_hints(Config)


def key_types(section: str) -> dict[str, Any]:
    """Each key of a section and its type, its meaning in the annotation."""
    return keys_of(section_types()[section])


def _from_file(file: Path) -> Values:
    values: Values = {}
    for section, keys in _read(file).items():
        _require_section(str(file), section)
        if not isinstance(keys, dict):
            raise ConfigError(f"{file}: [{section}] is a section, not a value: write its keys below a line [{section}]")
        values[section] = {}
        for key, value in keys.items():
            require_key(str(file), f"[{section}]", key, key_types(section))
            values[section][key] = converted(str(file), f"[{section}] {key}", key_types(section)[key], value)
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
        close = nearest(variable, sorted(NOT_SETTINGS))
        raise ConfigError(f"{variable} in the environment is no setting: expected ORDERCTL_SECTION__KEY{close}")
    _require_section(variable, section)
    require_key(variable, f"[{section}]", key, key_types(section))
    return section, key


def _require_section(where: str, section: str) -> None:
    if section not in (sections := section_types()):
        raise ConfigError(f"{where}: there is no section [{section}]{nearest(section, sections)}")
