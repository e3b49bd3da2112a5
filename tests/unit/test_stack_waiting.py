"""Waiting for servers, the folder's lock, the archives' cache, and the end of a log."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orderctl.clock import ManualClock, SystemClock
from orderctl.errors import Interrupted, TierUnavailable, UsageRefused
from orderctl.stack.folder import alone, make_password, password_file
from orderctl.stack.jars import Jars, cache_folder
from orderctl.stack.tail import Follower, last_lines
from orderctl.stack.waiting import LOOK_S, Wait
from tests.acceptance.server import PATIENCE_S, until


def waiting(limit_s: float = 10.0, *, given_up: bool = False, real: bool = False) -> Wait:
    """A wait on a clock that every look moves, or on the real one."""
    event = threading.Event()
    if given_up:
        event.set()
    return Wait("kafka", limit_s=limit_s, clock=SystemClock() if real else ManualClock(), given_up=event)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waited for."""
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


class TestWaiting:
    """Until it is so, until the time is up, or until somebody gives up."""

    def test_it_looks_until_it_is_so(self) -> None:
        """A connection that is refused, or an answer that means nothing, is a "not yet"."""
        answers: Iterator[bool | Exception] = iter([ConnectionRefusedError(), ValueError(), False, True])

        def condition() -> bool:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        wait = waiting()
        wait.until(condition, what="healthy")
        assert wait.elapsed_s() == pytest.approx(3 * LOOK_S)

    def test_the_time_is_bounded(self, tmp_path: Path) -> None:
        """What was waited for is said, and the last that the server said."""
        log = tmp_path / "log"
        log.write_text("".join(f"line {number}\n\n" for number in range(9)))
        with pytest.raises(TierUnavailable) as failure:
            waiting(2).until(lambda: False, what="healthy", log=log)
        assert str(failure.value) == "kafka: not healthy within 2s: line 6 | line 7 | line 8"
        assert str(log) in str(failure.value.hint)

    def test_a_server_that_said_nothing(self, tmp_path: Path) -> None:
        """That is said."""
        with pytest.raises(TierUnavailable, match="it said nothing"):
            waiting(2).until(lambda: False, what="healthy", log=tmp_path / "log")

    def test_who_gives_up_does_not_wait(self) -> None:
        """However much time is left."""
        with pytest.raises(Interrupted):
            waiting(given_up=True).until(lambda: False, what="healthy")

    def test_a_program_is_run_to_its_end(self, tmp_path: Path) -> None:
        """Its output goes to the log; one that fails is an error with its last words."""
        log = tmp_path / "log"
        waiting(PATIENCE_S, real=True).run([sys.executable, "-c", "print('done')"], log=log, what="made")
        assert log.read_text() == "done\n"
        failing = [sys.executable, "-c", "import sys; sys.exit('no room')"]
        with pytest.raises(TierUnavailable, match=r"not made: \S+ ended with 1: done \| no room"):
            waiting(PATIENCE_S, real=True).run(failing, log=log, what="made")

    def test_a_program_does_not_outlive_the_wait(self, tmp_path: Path) -> None:
        """When the time is up, it is ended, and whatever it has started as well."""
        mark = tmp_path / "pid"
        script = f"sleep 60 & echo $! >{shlex.quote(str(mark))}; wait"
        with pytest.raises(TierUnavailable):
            waiting(1, real=True).run(["/bin/sh", "-c", script], log=tmp_path / "log", what="made")
        until(lambda: has_ended(int(mark.read_text())), seconds=PATIENCE_S, what="ended")


class TestFolder:
    """The stack's folder."""

    def test_one_command_at_a_time(self, tmp_path: Path) -> None:
        """The second waits, and is let in when the first has gone, also if that took the folder away."""
        folder = tmp_path / "a" / "stack"
        busy = pytest.raises(TierUnavailable, match="another `orderctl stack`")
        with alone(folder, waiting()), busy, alone(folder, waiting(1)):
            pass
        assert not folder.exists()
        first_is_in, order = threading.Event(), []

        def second() -> None:
            first_is_in.wait(PATIENCE_S)
            with alone(folder, waiting(PATIENCE_S, real=True)):
                order.append("second")
                (folder / "kept").touch()

        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(second)
            with alone(folder, waiting(PATIENCE_S, real=True)):
                first_is_in.set()
                order.append("first")
            done.result(PATIENCE_S)
        assert order == ["first", "second"]
        assert (folder / "kept").exists()

    def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        """Is refused, and left as it is."""
        (tmp_path / "file").write_text("mine")
        with pytest.raises(UsageRefused, match="cannot be used"), alone(tmp_path / "file", waiting()):
            pass
        assert (tmp_path / "file").read_text() == "mine"

    def test_the_password(self, tmp_path: Path) -> None:
        """Is invented once, and for its owner only."""
        password = make_password(tmp_path)
        assert len(password) >= 32
        assert make_password(tmp_path) == password
        assert password_file(tmp_path).stat().st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir()] == [password_file(tmp_path).name]


MAVEN = """\
#!/bin/sh
echo run >>"{count}"
for option; do case $option in -Djars=*) into=${{option#-Djars=}};; esac; done
mkdir -p "$into/kafka" "$into/cassandra"
{end}
"""


class TestJars:
    """Archives are fetched once, by one Maven at a time. The Maven here is a script that makes folders."""

    @pytest.fixture
    def runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Where each run of Maven leaves a line."""
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        self.install(tmp_path, end="exit 0")
        return tmp_path / "runs"

    def install(self, folder: Path, *, end: str) -> None:
        """A Maven that ends like that."""
        maven = folder / "bin" / "mvn"
        maven.write_text(MAVEN.format(count=folder / "runs", end=end))
        maven.chmod(0o755)

    def test_both_who_ask_get_them_by_one_run(self, runs: Path, tmp_path: Path) -> None:
        """Also when they ask at the same time, and when they ask again."""
        jars = Jars(tmp_path / "cache")
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(jars.fetch, name, waiting(PATIENCE_S, real=True)) for name in ("kafka", "cassandra")]
            assert [one.result(PATIENCE_S) for one in asked] == [None, None]
        Jars(tmp_path / "cache").fetch("kafka", waiting(PATIENCE_S, real=True))
        assert runs.read_text() == "run\n"
        assert jars.are_there("kafka")
        assert jars.are_there("cassandra")

    def test_a_run_that_fails_leaves_nothing(self, runs: Path, tmp_path: Path) -> None:
        """Half an archive is none; the next run begins anew."""
        self.install(tmp_path, end="echo no network; exit 1")
        jars = Jars(tmp_path / "cache")
        with pytest.raises(TierUnavailable, match="no network"):
            jars.fetch("kafka", waiting(PATIENCE_S, real=True))
        assert not jars.are_there("kafka")
        assert {path.name for path in (tmp_path / "cache").iterdir()} == {"lock", "maven.log"}
        self.install(tmp_path, end="exit 0")
        jars.fetch("kafka", waiting(PATIENCE_S, real=True))
        assert runs.read_text() == "run\nrun\n"

    def test_where_they_are_kept(self) -> None:
        """As the XDG base directories say, which are absolute or do not count."""
        assert cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/orderctl")
        assert cache_folder({"XDG_CACHE_HOME": "c"}) == cache_folder({}) == Path.home() / ".cache" / "orderctl"


@pytest.mark.parametrize("size", [0, 1, 5, 100_000])
def test_the_end_of_a_log(tmp_path: Path, size: int) -> None:
    """The last lines, whatever the log's size; none where there is no log."""
    log = tmp_path / "log"
    assert last_lines(log, 3) == []
    lines = [f"line {number}" for number in range(size)]
    log.write_text("".join(line + "\n" for line in lines))
    assert last_lines(log, 3) == lines[-3:]
    assert last_lines(log, 20_000) == lines[-20_000:]


def test_what_is_appended_is_followed(tmp_path: Path) -> None:
    """Whole lines from now on, of a log that is there and of one that comes later."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("before\n")
    follower = Follower({"a": old, "b": new})
    assert list(follower.new_lines()) == []
    with old.open("a") as log:
        log.write("one\ntwo\nthr")
    new.write_text("first\n")
    assert list(follower.new_lines()) == [("a", "one"), ("a", "two"), ("b", "first")]
    with old.open("a") as log:
        log.write("ee\n")
    assert list(follower.new_lines()) == [("a", "three")]
