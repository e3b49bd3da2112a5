"""Opens what an operator's verb works on: the tiers of the deployment that the shared options name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orderctl.cli.options import Invocation

if TYPE_CHECKING:
    from orderctl.admin.audit import AuditLog
    from orderctl.stores.registry import Registry
    from orderctl.stores.sqlite.datadir import FileState
    from orderctl.stores.tiers import Tiers


@contextmanager
def opened_tiers(
    invocation: Invocation, *, make: bool = False, check: bool = True, whole: bool = False, apart: bool = False
) -> Iterator[Tiers]:
    """The tiers, closed afterwards.

    Args:
        invocation: says which.
        make: whether they are made or brought to the newest schema where needed; else that is for `serve` and `migrate`.
        check: whether the files are looked through first, which takes a while where they are large.
        whole: whether a file that is missing is refused; else it is made, and has nothing in it.
        apart: whether servers that are away are no reason to stop: whatever is asked of their stores raises.

    Raises:
        NotFound: there is no data directory.
        DataDirError: it cannot be used as it is.
        TierUnavailable: a tier is missing, or cannot be opened.

    """
    from orderctl.clock import SystemClock
    from orderctl.config import is_embedded
    from orderctl.stores.sqlite.datadir import DataDir
    from orderctl.stores.tiers import open_tiers

    config = invocation.config
    if is_embedded(config):
        if not make:
            require_data_dir(invocation.data_dir)
        states = DataDir(invocation.data_dir).check() if check or make else ()
        if not make:
            _require_newest(states)
        if whole:
            _require_all(states)
    if apart and not is_embedded(config):
        from orderctl.stores.apart import open_servers_apart

        tiers = open_servers_apart(config, SystemClock())
    else:
        tiers = open_tiers(config, invocation.data_dir, SystemClock())
    try:
        yield tiers
    finally:
        tiers.close()


@contextmanager
def opened_registry(invocation: Invocation, *, make: bool = False) -> Iterator[tuple[Registry, AuditLog]]:
    """The registry, and the audit log for what is changed in it."""
    from orderctl.admin.audit import audit_log
    from orderctl.clock import SystemClock

    with (
        opened_tiers(invocation, make=make) as tiers,
        audit_log(audit_path(invocation), SystemClock()) as audit,
    ):
        yield tiers.registry, audit


def audit_path(invocation: Invocation) -> Path:
    """Where audit lines go."""
    from orderctl.stores.sqlite.datadir import DataDir

    configured = invocation.config.audit.path
    return Path(configured) if configured else DataDir(invocation.data_dir).audit


def has_data(data_dir: Path) -> bool:
    """Whether anything was ever started on this data directory.

    Raises:
        DataDirError: it may not be looked at.

    """
    from orderctl.errors import DataDirError
    from orderctl.stores.sqlite.datadir import DataDir

    try:
        return DataDir(data_dir).hot.exists()
    except OSError as error:
        raise DataDirError(f"{data_dir} cannot be read: {error.strerror}") from error


def require_data_dir(data_dir: Path) -> None:
    """Refuse to go on where there is nothing, instead of making it.

    Raises:
        NotFound: nothing was ever started on this data directory.

    """
    from orderctl.errors import NotFound

    if not has_data(data_dir):
        raise NotFound(
            f"nothing was ever started on the data directory {data_dir}",
            hint="`orderctl serve` starts it; --data-dir or $ORDERCTL_DATA_DIR names another",
        )


def _require_newest(states: tuple[FileState, ...]) -> None:
    """A look must not change the schema under daemons that run."""
    from orderctl.errors import DataDirError

    for state in states:
        if state.schema_version not in {None, state.target_version}:
            raise DataDirError(
                f"{state.path} has schema {state.schema_version}, this orderctl needs {state.target_version}",
                hint="`orderctl migrate` brings it there",
            )


def _require_all(states: tuple[FileState, ...]) -> None:
    """A look must not hide that a tier was lost, by making an empty one in its place."""
    from orderctl.errors import TierUnavailable

    for state in states:
        if state.schema_version is None:
            raise TierUnavailable(
                state.path.stem, f"{state.path} is missing", hint="`orderctl migrate` makes it anew, with nothing in it"
            )
