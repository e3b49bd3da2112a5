"""The configuration, parsed once into frozen typed sections: file < environment (`ORDERCTL_SECTION__KEY`) < flags.

A key that nobody knows is an error that names the nearest known one, wherever it stands. A secret has a `…_file` twin and is
shown as `***`; no section holds one yet.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_type_hints

import msgspec
from msgspec import Meta, Struct, field

from orderctl.errors import ConfigError

FILE_DEFAULT = Path("orderctl.toml")
DATA_DIR_DEFAULT = Path("orderctl-data")
ENVIRONMENT_PREFIX = "ORDERCTL_"
NOT_SETTINGS = frozenset({"ORDERCTL_CONFIG", "ORDERCTL_DATA_DIR", "ORDERCTL_KEY"})
"""Environment variables of ours that are no settings."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(float):
    """Seconds, written `500ms`, `2s`, `15m` or `1h`."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """The duration that `text` says.

        Raises:
            ValueError: it says none.

        """
        match = _DURATION.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no duration: write 500ms, 2s, 15m or 1h")
        return cls(float(match[1]) * _SECONDS[match[2]])

    def __str__(self) -> str:
        for unit, seconds in reversed(_SECONDS.items()):
            if self and self % seconds == 0:
                return f"{int(self / seconds)}{unit}"
        return f"{self * 1000:g}ms"

    @property
    def ms(self) -> int:
        """The duration in whole milliseconds."""
        return round(self * 1000)


Bind = Annotated[str, Meta(pattern=r"^\S+:\d{1,5}$", description="HOST:PORT; port 0 takes a free one")]


class LogSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What daemons write to stderr."""

    format: Literal["auto", "logfmt", "json"] = "auto"
    """`auto` is logfmt on a terminal and JSON otherwise."""
    level: Literal["debug", "info", "warning", "error"] = "info"


class DaemonSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all daemons share."""

    instance: str = ""
    """A name of this instance that outlives it, such as systemd's %i."""
    drain_delay: Duration = Duration(0)
    """How long /readyz says 503 before the listener closes, so that load balancers look away first."""
    stop_timeout: Duration = Duration(20)
    """How long requests that were taken may need to finish when the daemon stops."""


class HttpSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Both API servers."""

    body_timeout: Duration = Duration(10)
    """How long a request's body may take to arrive."""
    backlog: Annotated[int, Meta(ge=16, le=65_535)] = 1024
    queue_max: Annotated[int, Meta(ge=500)] = 20_000
    """Orders waiting for a batch; beyond it 503."""
    linger: Duration = Duration(0.005)
    """How long a batch may wait while requests keep coming; a lone request does not wait."""


class CommandSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The command server."""

    bind: Bind = "127.0.0.1:8701"
    clock_skew_max: Duration = Duration(1)
    """How far this host's clock may be off the database's; beyond it the server is not ready."""
    tentative_ttl: Duration = Duration(5)
    tentative_wait: Duration = Duration(0.01)
    """How long COMMIT may wait for the cache's answer, so that the record can be promoted."""


class QuerySection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The query server."""

    bind: Bind = "127.0.0.1:8702"
    wait_max: Duration = Duration(10)
    """The longest that `Prefer: wait=` makes a look-up wait."""


class AdminSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """/livez, /readyz, /metrics and /status. Without `bind`: the daemon's own port, or 127.0.0.1:8700 for several."""

    bind: Bind | None = None


class CacheSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Records in the cache."""

    record_ttl: Duration = Duration(3600)
    """How long a record outlives its order's deadline; for a final order, how long it lives."""


class DeploymentSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Constants: written into the database once, and checked against it at every start."""

    groups: Annotated[int, Meta(ge=1, le=4096)] = 64
    """A power of two."""


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration. `data_dir` is where the embedded tiers keep their files; it is no part of the file."""

    log: LogSection = field(default_factory=LogSection)
    daemon: DaemonSection = field(default_factory=DaemonSection)
    http: HttpSection = field(default_factory=HttpSection)
    command: CommandSection = field(default_factory=CommandSection)
    query: QuerySection = field(default_factory=QuerySection)
    admin: AdminSection = field(default_factory=AdminSection)
    cache: CacheSection = field(default_factory=CacheSection)
    deployment: DeploymentSection = field(default_factory=DeploymentSection)


Values = dict[str, dict[str, Any]]


def find_file(flag: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file to read: the flag's, the environment's, `./orderctl.toml` where there is one, else none."""
    if flag is not None:
        return flag
    if named := environ.get("ORDERCTL_CONFIG"):
        return Path(named)
    return FILE_DEFAULT if FILE_DEFAULT.exists() else None


def load(file: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration in `file`, as changed by the environment.

    Raises:
        ConfigError: it cannot be read, or something in it means nothing; the message says where.

    """
    values = _read(file) if file is not None else {}
    for name, text in environ.items():
        if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS:
            section, key = _place(name)
            values.setdefault(section, {})[key] = _from_text(text, _key_types(section)[key])
    try:
        config = msgspec.convert(values, Config, dec_hook=_decode_custom)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file or 'environment'}: {error}") from error
    if config.deployment.groups & (config.deployment.groups - 1):
        raise ConfigError(
            f"{file or 'environment'}: [deployment] groups = {config.deployment.groups} is not a power of two"
        )
    return config


def as_values(config: Config) -> Values:
    """The configuration as plain values, as `config show` prints it: durations as text, secrets as `***`."""
    return cast("Values", msgspec.to_builtins(config, enc_hook=str))


def _read(file: Path) -> Values:
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", hint="`orderctl config init` writes one") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{file}: {error}") from error
    for section, keys in values.items():
        if not isinstance(keys, dict):
            raise ConfigError(f"{file}: `{section}` stands outside any [section]")
        for key in keys:
            _known(str(file), section, key)
        _known(str(file), section)
    return values


def _place(variable: str) -> tuple[str, str]:
    """The section and key that an environment variable names."""
    section, separator, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
    if not separator:
        nearest = _nearest(variable, sorted(NOT_SETTINGS))
        raise ConfigError(f"{variable} is no setting: expected ORDERCTL_SECTION__KEY{nearest}")
    _known(variable, section, key)
    return section, key


def _known(where: str, section: str, key: str | None = None) -> None:
    sections = list(Config.__struct_fields__)
    if section not in sections:
        raise ConfigError(f"{where}: no section [{section}]{_nearest(section, sections)}")
    keys = list(_key_types(section))
    if key is not None and key not in keys:
        raise ConfigError(f"{where}: no key `{key}` in [{section}]{_nearest(key, keys)}")


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def _key_types(section: str) -> dict[str, Any]:
    return get_type_hints(get_type_hints(Config)[section])


def _from_text(text: str, wanted: Any) -> Any:
    return int(text) if wanted is int and re.fullmatch(r"-?\d{1,18}", text) else text


def _decode_custom(wanted: type, value: object) -> object:
    if wanted is Duration and isinstance(value, str):
        return Duration.parse(value)
    raise ValueError(f"expected a duration such as 2s, got {value!r}")
