"""Every test, in two lanes side by side: tests of whole deployments wait more than they work, and the others fill that time.

    python -m tests.lanes [ARGUMENTS FOR PYTEST]
    ORDERCTL_TEST_AGAIN=3    so many tests at most that failed run once more, when nothing else of ours runs

What the others say is shown when they have ended; they have the lower priority, since nothing of theirs waits for a moment. With
arguments there is one lane: what they select. A machine that stood still for a while makes a test of real servers fail once in
thousands of times; whoever runs them all unattended may let a few prove themselves alone. What failed is shown all the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

TESTS: Final = Path(__file__).parent
ACCEPTANCE: Final = TESTS / "acceptance"
SERVERLESS: Final = ("test_process_*.py", "*_sigkill.py")
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
        sys.stdout.write(f"These failed, and run once more, with nothing beside them: {', '.join(failed)}\n")
        sys.stdout.flush()
        return subprocess.call([*PYTEST, *failed])
    return next(filter(None, codes), 0)


def _side_by_side(caches: Path) -> list[int]:
    with tempfile.TemporaryFile() as said:
        command = ["nice", "-n", "5", *_pytest(_others(), caches / "others")]
        others = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        try:
            return [_call(_deployments(), caches / "deployments"), others.wait()]
        finally:
            if others.poll() is None:
                others.send_signal(signal.SIGINT)
                others.wait()
            said.seek(0)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()


def _call(arguments: Sequence[str], cache: Path) -> int:
    return subprocess.call(_pytest(arguments, cache))


def _pytest(arguments: Sequence[str], cache: Path) -> list[str]:
    return [*PYTEST, "-o", f"cache_dir={cache}", *arguments]


def _failed(caches: Path) -> list[str]:
    return [test for said in sorted(caches.glob("*/v/cache/lastfailed")) for test in json.loads(said.read_bytes())]


def _serverless() -> list[Path]:
    return [file for pattern in SERVERLESS for file in sorted(ACCEPTANCE.glob(pattern))]


def _deployments() -> list[str]:
    return [str(ACCEPTANCE), *(f"--ignore={file}" for file in _serverless())]


def _others() -> list[str]:
    folders = [folder for folder in sorted(TESTS.iterdir()) if any(folder.glob("test_*.py")) and folder != ACCEPTANCE]
    return [*map(str, folders), *map(str, sorted(TESTS.glob("test_*.py"))), *map(str, _serverless())]


def _end(*_signal: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
