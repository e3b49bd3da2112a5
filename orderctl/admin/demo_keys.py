"""The keys that the first embedded start makes, so that a newcomer's first request works: a merchant's and a gateway's.

The key's file is written before its digest, and whoever comes second takes what it says. So a process that is killed anywhere
in between, or two that start at once, leave one key that works. The key's id is fixed: a key that was revoked is known by it
and does not come back, whether or not its file is still there.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

import msgspec
from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import DataDirError
from orderctl.order import Role
from orderctl.services.keys import KEY_BYTES, KEY_PREFIX, digest_of, mint
from orderctl.stores.registry import ApiKey, Registry

DEMO_MERCHANT = "demo"
_KEYS = (("demo", Role.MERCHANT, DEMO_MERCHANT), ("gateway", Role.GATEWAY, None))
_WELL_FORMED = re.compile(f"{KEY_PREFIX}[0-9a-f]{{{2 * KEY_BYTES}}}")


class DemoKeys(Struct, frozen=True):
    """The files that hold the keys; None where a key was revoked or its file taken away."""

    demo: Path | None
    gateway: Path | None


def demo_keys(folder: Path, registry: Registry, clock: Clock) -> DemoKeys:
    """Make the keys in `folder` that were never made, and say which there are.

    Raises:
        DataDirError: a key's file cannot be read or written, or holds no key.

    """
    known = {key.key_id: key for key in registry.api_keys()}
    usable = {
        name: _ensure(folder / name, known.get(f"key_{name}"), registry, clock, role, merchant_id)
        for name, role, merchant_id in _KEYS
    }
    return DemoKeys(**usable)


def read_key(path: Path) -> str:
    """The key in a file.

    Raises:
        DataDirError: it cannot be read, or holds no key.

    """
    try:
        key = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise DataDirError(f"{path} cannot be read: {reason}") from error
    if _WELL_FORMED.fullmatch(key) is None:
        raise DataDirError(f"{path} holds no key", hint="a key is ok_ and 64 digits, as `orderctl key create` shows it")
    return key


def _ensure(
    path: Path, known: ApiKey | None, registry: Registry, clock: Clock, role: Role, merchant_id: str | None
) -> Path | None:
    if known is not None:
        return path if known.revoked_at is None and path.exists() else None
    new = mint(role, merchant_id, now_us=clock.now_us())
    if not path.exists():
        _write_once(path, new.secret)
    key = msgspec.structs.replace(new.key, key_id=f"key_{path.name}", digest=digest_of(read_key(path)))
    registry.add_key(key)  # False where another process was quicker, with the same file's key
    return path


def _write_once(path: Path, secret: str) -> None:
    """Make the file with all its content, or leave the one that another process made meanwhile."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{secret}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            path.hardlink_to(new)
        except FileExistsError:
            return
        finally:
            new.unlink()
        _sync_folder(path.parent)
    except OSError as error:
        raise DataDirError(f"{path} cannot be written: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
