"""Every test, in lanes side by side: whole deployments on real servers, other tests on real servers, and those without.

    python -m tests.lanes [ARGUMENTS FOR PYTEST]
    ORDERCTL_TEST_QUICK=1    those without servers alone, and without those of minutes: by folders
    ORDERCTL_TEST_AGAIN=3    so many tests at most that failed run once more, when this run is over

Tests of servers wait more than they work, and the others fill that time; at a lower priority, since nothing of theirs waits for a
moment. What they say is shown when they have ended. With arguments there is one lane: what they select. A machine that stood
still for a while makes a test of real servers fail once in thousands of times; whoever runs them all unattended may let a few
prove themselves once more. What failed is shown all the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NoReturn

from tests.stack import QUICK

TESTS: Final = Path(__file__).parent
DEPLOYMENTS: Final = TESTS / "acceptance"
NEEDS_SERVERS: Final = "needs("
"""What a module says that runs on real servers, see tests/stack.py."""
FOLDERS: Final = (("acceptance",), ("cli",), ("admin", "bench", "web"), ("services", "simulation"))
"""The lanes of a quick run; one more has the others."""
AGAIN: Final = "ORDERCTL_TEST_AGAIN"
PYTEST: Final = (sys.executable, "-m", "pytest")
SOME_FAILED: Final = 1
"""What pytest gives if it ran all that it was to run, and some failed."""


def main(arguments: Sequence[str]) -> int:
    """Run what is to run: 0 if all tests passed, otherwise what pytest gave for the first lane that failed."""
    signal.signal(signal.SIGTERM, _end)
    again = int(os.environ.pop(AGAIN, "0"))
    with tempfile.TemporaryDirectory() as folder:
        caches = Path(folder)
        codes = [_call(arguments, caches / "one")] if arguments else _side_by_side(caches)
        failed = _failed(caches)
    if SOME_FAILED in codes and set(codes) <= {0, SOME_FAILED} and 0 < len(failed) <= again:
        sys.stdout.write(f"These failed, and run once more, by themselves: {', '.join(failed)}\n")
        sys.stdout.flush()
        return subprocess.call([*PYTEST, *failed])
    return next(filter(None, codes), 0)


def _side_by_side(caches: Path) -> list[int]:
    first, *others = _lanes()
    with ExitStack() as ends:
        lanes = [ends.enter_context(_beside(tests, caches / str(number))) for number, tests in enumerate(others)]
        return [_call(first, caches / "first"), *(lane.wait() for lane in lanes)]


@contextmanager
def _beside(tests: Sequence[str], cache: Path) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as said:
        lane = subprocess.Popen(["nice", "-n", "5", *_pytest(tests, cache)], stdout=said, stderr=subprocess.STDOUT)
        try:
            yield lane
        finally:
            if lane.poll() is None:
                lane.send_signal(signal.SIGINT)
                lane.wait()
            said.seek(0)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()


def _call(arguments: Sequence[str], cache: Path) -> int:
    return subprocess.call(_pytest(arguments, cache))


def _pytest(arguments: Sequence[str], cache: Path) -> list[str]:
    return [*PYTEST, "-o", f"cache_dir={cache}", *arguments]


def _failed(caches: Path) -> list[str]:
    return [test for said in sorted(caches.glob("*/v/cache/lastfailed")) for test in json.loads(said.read_bytes())]


def _lanes() -> tuple[list[str], ...]:
    files = set(TESTS.rglob("test_*.py"))
    deployments = {file for file in files if file.parent == DEPLOYMENTS}
    on_servers = {file for file in files if NEEDS_SERVERS in file.read_text()}
    if os.environ.get(QUICK) == "1":
        # A module on servers may have tests that need none.
        lanes = [{file for file in files if file.relative_to(TESTS).parts[0] in folders} for folders in FOLDERS]
        lanes.append(files.difference(*lanes))
    else:
        lanes = [deployments & on_servers, on_servers - deployments, files - on_servers]
    return tuple(sorted(map(str, lane)) for lane in lanes)


def _end(*_signal: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
