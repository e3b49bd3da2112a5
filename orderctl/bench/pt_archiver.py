"""pt-archiver of the Percona Toolkit: the field's own way to keep a table small, which copies row by row and verifies nothing."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Final

from orderctl.bench.ground import Ground
from orderctl.bench.measuring import Measure
from orderctl.errors import TierRejected, UsageRefused
from orderctl.secret import read_secret
from orderctl.stack.server import find_program
from orderctl.stores.mysql_driver import connect, drop, send
from orderctl.stores.mysql_hot import server_of

PROGRAM: Final = "pt-archiver"
FINAL: Final = "status = 'success'"
MAKE: Final = "CREATE TABLE IF NOT EXISTS bench_archived LIKE orders"
LEFT: Final = "SELECT COUNT(*) FROM orders WHERE status = 'success'"
MOVED: Final = "SELECT COUNT(*) FROM bench_archived"
ROWS: Final = 1_000
"""So many a transaction, and asked for at a time."""


def require_pt_archiver() -> None:
    """Refuse to begin without it.

    Raises:
        UsageRefused: it is not installed.

    """
    if find_program(PROGRAM) is None:
        raise UsageRefused(f"{PROGRAM} is not installed", hint="on Debian and Ubuntu `apt-get install percona-toolkit`")


def archive_rows(ground: Ground, size: int) -> Measure:
    """Let it move all final rows of the table of orders, of which there are `size`, into another table of the same server.

    Raises:
        TierRejected: it failed, or did not move them all.

    """
    _send(ground, MAKE)
    before = _count(ground, MOVED)
    command = _command(ground)
    log = ground.folder / f"{PROGRAM}.log"
    began_s = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)  # what one child used, and no other
        seconds = time.perf_counter() - began_s
        process.returncode = os.waitstatus_to_exitcode(status)
    moved = _count(ground, MOVED) - before
    if process.returncode or moved != size or _count(ground, LEFT):
        said = log.read_text("utf-8", "replace")[-500:]
        raise TierRejected("hot", f"{PROGRAM} moved {moved} of {size} rows and ended with {process.returncode}: {said}")
    return Measure(units=moved, seconds=seconds, cpu_s=used.ru_utime + used.ru_stime, memory_mib=used.ru_maxrss / 1024)


def _command(ground: Ground) -> list[str]:
    (shard,) = ground.config.mysql.shards
    password = read_secret(shard.password, shard.password_file)
    options = ground.folder / f"{PROGRAM}.cnf"
    _write_privately(options, f"[client]\nuser={shard.user}\n" + (f'password="{password}"\n' if password else ""))
    source = f"F={options},h={shard.host},P={shard.port},D={shard.database},t=orders"
    return [
        PROGRAM,
        f"--source={source}",
        "--dest=t=bench_archived",
        f"--where={FINAL}",
        f"--limit={ROWS}",
        f"--txn-size={ROWS}",
        "--no-check-charset",
        "--no-version-check",
    ]


def _write_privately(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text, "utf-8")


def _count(ground: Ground, query: str) -> int:
    ((count,),) = _send(ground, query)
    return int(str(count))


def _send(ground: Ground, statement: str) -> list[tuple[object, ...]]:
    (shard,) = ground.config.mysql.shards
    connection = connect(server_of(shard))
    try:
        return list(send(connection, statement)[1])
    finally:
        drop(connection)
