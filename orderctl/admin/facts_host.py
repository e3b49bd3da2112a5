"""Looks at this machine for `doctor`: limits, the permissions of files, and where the data directory lies."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterable
from pathlib import Path

from orderctl.admin.checks_host import OTHERS, DatabaseFacts, EmbeddedFacts, FileFacts, HostFacts
from orderctl.config import Config
from orderctl.stores.sqlite.datadir import DataDir

MOUNTS = Path("/proc/self/mounts")


def host_facts(config: Config, config_file: Path | None) -> HostFacts:
    """This machine, and the files of the configuration that hold secrets."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    named = [shard.password_file for shard in config.mysql.shards]
    named += [config.redis.password_file, config.cassandra.password_file]
    inline = [*(shard.password for shard in config.mysql.shards), config.redis.password, config.cassandra.password]
    holds_one = any(password is not None for password in inline)
    secrets = [Path(name) for name in named if name] + ([config_file] if config_file is not None and holds_one else [])
    return HostFacts(
        files_max=2**63 - 1 if soft == resource.RLIM_INFINITY else soft,
        secrets=_modes(secrets),
        binds=(("command", config.command.bind), ("query", config.query.bind))
        + ((("admin", config.admin.bind),) if config.admin.bind else ()),
    )


def embedded_facts(data_dir: Path, *, mounts: Path = MOUNTS) -> EmbeddedFacts:
    """A data directory. Nothing in it is changed.

    Raises:
        DataDirError: a database is damaged, or of a newer schema.

    """
    states = DataDir(data_dir).inspect()
    inside = [path for path in data_dir.rglob("*") if not path.is_symlink()]
    return EmbeddedFacts(
        databases=tuple(DatabaseFacts(state.path.name, state.schema_version, state.target_version) for state in states),
        # What is in a folder that is closed to others is closed as well.
        files=_modes([data_dir] if data_dir.stat().st_mode & OTHERS == 0 else [data_dir, *sorted(inside)]),
        free_bytes=shutil.disk_usage(data_dir).free,
        file_system=_file_system(data_dir.resolve(), mounts),
    )


def _modes(paths: Iterable[Path]) -> tuple[FileFacts, ...]:
    """What may be looked at; a file that is gone by now is nobody's."""
    found = []
    for path in paths:
        try:
            found.append(FileFacts(str(path), path.stat().st_mode & 0o777))
        except OSError:
            continue
    return tuple(found)


def _file_system(path: Path, mounts: Path) -> str:
    """The kind of the file system with the longest mount point that `path` lies under."""
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    under = [(len(point), kind) for _, point, kind, *_ in lines if path.is_relative_to(point.replace("\\040", " "))]
    return max(under, default=(0, ""))[1]
