"""The data directory's check: what is accepted, what is refused in one line that names the file, and that nothing is touched."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orderctl.clock import ManualClock
from orderctl.errors import DataDirError
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.datadir import DataDir, FileState
from orderctl.stores.sqlite.embedded import open_embedded_hot
from orderctl.stores.sqlite.schema import ARCHIVE, CACHE, HOT, LOG, Schema
from tests.contract.hot_harness import create, drafts

TOP = Path(__file__).resolve().parents[2]
NOBODY = 65_534

LEAVE_A_LOG = """
import os, signal, sys
from pathlib import Path
from orderctl.clock import SystemClock
from orderctl.stores.sqlite.embedded import open_embedded_hot
from tests.contract.hot_harness import drafts

hot = open_embedded_hot(Path(sys.argv[1]), groups=64, clock=SystemClock())
for batch in range(int(sys.argv[2])):
    hot.store.create(drafts(50))
os.kill(os.getpid(), signal.SIGKILL)
"""

CHECK_AS_NOBODY = """
import os, sys
from pathlib import Path
from orderctl.errors import DataDirError
from orderctl.stores.sqlite.datadir import DataDir

DataDir(Path("warm")).check()  # whatever is imported late is imported now
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
try:
    DataDir(Path(sys.argv[1])).check()
except DataDirError as error:
    sys.stdout.write(str(error))
"""


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return used(tmp_path / "data")


def used(path: Path) -> DataDir:
    """A directory that was used and closed in good order: some hundred orders, and the other databases empty."""
    data = DataDir(path)
    data.check()
    embedded = open_embedded_hot(data.hot, groups=64, clock=ManualClock())
    embedded.store.create(drafts(300))
    embedded.close()
    for file, schema in files(data).items():
        Database(file, schema).close()
    return data


def files(data: DataDir) -> dict[Path, Schema]:
    """Its databases, and what each is made of."""
    return {data.hot: HOT, data.cache: CACHE, data.log: LOG, data.archive: ARCHIVE}


def contents(data: DataDir) -> dict[str, bytes]:
    """Every file that holds data; the index of a log (-shm) is working memory."""
    return {file.name: file.read_bytes() for file in sorted(data.path.glob("*.*")) if not file.name.endswith("-shm")}


def refusal(data: DataDir) -> str:
    """The message of the check, which must refuse, name a file, and leave every file as it is."""
    before = {name: content for name, content in contents(data).items() if content}
    with pytest.raises(DataDirError) as caught:
        data.check()
    assert {name: content for name, content in contents(data).items() if content} == before
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return str(caught.value)


def test_a_new_directory_is_its_owners_only(tmp_path: Path) -> None:
    """It is made with the parents that are missing, holds a place for keys and nothing else, and can be checked again."""
    data = DataDir(tmp_path / "some" / "where")
    missing = tuple(FileState(path, None, schema.version) for path, schema in files(data).items())
    assert data.inspect() == missing
    assert not data.path.exists()
    for _ in range(2):
        assert data.check() == missing
        assert list(data.path.iterdir()) == [data.keys]
        assert [folder.stat().st_mode & 0o777 for folder in (data.path, data.keys)] == [0o700, 0o700]


def test_a_good_directory_is_accepted(data: DataDir) -> None:
    """The check says which schema each file has, and changes no byte."""
    before = contents(data)
    assert data.check() == tuple(
        FileState(path, schema.version, schema.version) for path, schema in files(data).items()
    )
    assert {name: content for name, content in contents(data).items() if content} == before


def test_a_directory_in_use_is_accepted(data: DataDir) -> None:
    """Also while a transaction is under way; what that holds stays locked."""
    with (
        closing(Database(data.hot, HOT)) as database,
        database.transaction(),
        closing(sqlite3.connect(data.hot)) as other,
    ):
        data.check()
        other.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")


@pytest.mark.parametrize("batches", [1, 60])
def test_what_a_killed_process_left_is_accepted(tmp_path: Path, batches: int) -> None:
    """The log beside the file is read and left as it is; the orders in it are there afterwards."""
    data = DataDir(tmp_path)
    child = subprocess.run([sys.executable, "-c", LEAVE_A_LOG, str(data.hot), str(batches)], cwd=TOP, check=False)
    assert child.returncode == -signal.SIGKILL
    assert data.hot.with_name("hot.db-wal").stat().st_size > 0
    before = contents(data)
    for index in (None, data.hot.with_name("hot.db-shm")):
        if index is not None:
            index.unlink()
        for thorough_bytes_max in (0, 1 << 30):
            assert DataDir(tmp_path, thorough_bytes_max=thorough_bytes_max).check()[0].schema_version == HOT.version
    assert contents(data) == before
    with closing(sqlite3.connect(data.hot)) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (50 * batches,)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def halve_to_whole_pages(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def drop_last_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def overwrite(path: Path, offset: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(random.Random(length).randbytes(length))


def scramble_header(path: Path) -> None:
    overwrite(path, 0, 100)


def scramble_middle(path: Path) -> None:
    overwrite(path, path.stat().st_size // 2 // 4096 * 4096, 4096)


def scramble_some_bytes_of_every_page(path: Path) -> None:
    for offset in range(4096, path.stat().st_size, 4096):
        overwrite(path, offset, 64)


def write_something_else(path: Path) -> None:
    path.write_text("no database at all\n" * 1000)


DAMAGES: list[Callable[[Path], None]] = [
    halve,
    halve_to_whole_pages,
    drop_last_page,
    empty,
    scramble_header,
    scramble_middle,
    scramble_some_bytes_of_every_page,
    write_something_else,
]


@pytest.mark.parametrize("name", ["hot.db", "cache.db"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_refused(data: DataDir, damage: Callable[[Path], None], name: str) -> None:
    """The message names it and says that it is damaged."""
    path = data.path / name
    damage(path)
    assert f"{path} is damaged: " in refusal(data)


@pytest.mark.parametrize("damage", [halve, halve_to_whole_pages, drop_last_page, empty, scramble_header])
def test_a_large_file_is_refused_by_its_header_and_length(data: DataDir, damage: Callable[[Path], None]) -> None:
    """Where reading all of it would take too long."""
    large = DataDir(data.path, thorough_bytes_max=0)
    large.check()
    damage(data.hot)
    assert f"{data.hot} is damaged: " in refusal(large)


def test_a_file_that_is_cut_short_beside_its_log_is_refused(tmp_path: Path) -> None:
    """A log that does not hold what is missing does not help."""
    data = DataDir(tmp_path)
    subprocess.run([sys.executable, "-c", LEAVE_A_LOG, str(data.hot), "60"], cwd=TOP, check=False)
    halve(data.hot)
    assert f"{data.hot} is damaged: " in refusal(data)


def test_a_log_without_its_file_is_refused(data: DataDir) -> None:
    """A new database must not be given the old one's log."""
    data.hot.rename(data.path / "moved.db")
    data.hot.with_name("hot.db-wal").write_bytes(b"the log of what was there")
    assert f"{data.hot} is missing" in refusal(data)


def test_a_newer_schema_is_refused(data: DataDir) -> None:
    """The message says both numbers, and the hint that a newer program is needed."""
    with closing(sqlite3.connect(data.hot, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {HOT.version + 7}")
    assert f"{data.hot} has schema {HOT.version + 7}; this orderctl knows up to {HOT.version}" in refusal(data)


def test_a_database_of_somebody_elses_is_refused(data: DataDir) -> None:
    """Another program's, and our own in the wrong place."""
    data.hot.unlink()
    with closing(sqlite3.connect(data.hot)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    assert f"{data.hot} is no hot database" in refusal(data)
    data.hot.write_bytes(data.cache.read_bytes())
    assert f"{data.hot} is no hot database" in refusal(data)


@pytest.mark.parametrize("name", ["hot.db", "cache.db", "log.db", "archive.db", "audit.jsonl"])
def test_a_directory_in_a_files_place_is_refused(tmp_path: Path, name: str) -> None:
    """It is named."""
    (tmp_path / name).mkdir()
    with pytest.raises(DataDirError, match=f"{name} is not a file"):
        DataDir(tmp_path).check()


def test_a_file_in_the_directorys_place_is_refused(tmp_path: Path) -> None:
    """Its bytes are left as they are."""
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(DataDirError, match=str(tmp_path / "file")):
            DataDir(path).check()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_that_nobody_may_write_to_is_refused() -> None:
    """Not even root can make a file in the kernel's own file system."""
    for path in (Path("/proc/self"), Path("/proc/orderctl")):
        with pytest.raises(DataDirError, match=str(path)):
            DataDir(path).check()


def check_as_nobody(folder: Path, name: str) -> str:
    """What the check says to a user who is not root, run in `folder`."""
    child = subprocess.run(
        [sys.executable, "-c", CHECK_AS_NOBODY, name, str(NOBODY)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(TOP)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return child.stdout


@pytest.mark.parametrize("read_only", [".", "keys", "hot.db", "cache.db", "log.db", "archive.db", "audit.jsonl"])
def test_what_is_read_only_is_refused(read_only: str) -> None:
    """The directory, the one for keys, or any file: the message names it, and nothing is made or changed."""
    # pytest's own directories are closed to the user that the check runs as.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = used(folder / "data")
        used(folder / "warm")
        data.audit.touch()
        for path in (folder, data.path, data.keys, *files(data), data.audit):
            path.chmod(0o777 if path.is_dir() else 0o666)
        assert check_as_nobody(folder, "data") == ""
        locked = data.path / read_only
        locked.chmod(0o555 if locked.is_dir() else 0o444)
        before = contents(data)
        message = check_as_nobody(folder, "data")
        locked.chmod(0o777)
        assert message.startswith(f"{Path('data') / read_only} cannot be ")
        assert contents(data) == before


def test_opening_after_the_check_finds_everything(data: DataDir) -> None:
    """The check leaves nothing that would be in the way."""
    data.check()
    embedded = open_embedded_hot(data.hot, groups=64, clock=ManualClock())
    order = create(embedded.store)
    assert embedded.store.load([order.order_id]) == [order]
    embedded.close()
    assert sorted(path.name for path in data.path.glob("hot*")) == ["hot.db"]
