"""Every test, in two lanes side by side: tests of whole deployments wait more than they work, and the others fill that time.

    python -m tests.lanes [ARGUMENTS FOR PYTEST]

What the others say is shown when they have ended; they have the lower priority, since nothing of theirs waits for a moment. With
them go those tests of daemons that need no servers, so that both lanes take about as long.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NoReturn

TESTS: Final = Path(__file__).parent
ACCEPTANCE: Final = TESTS / "acceptance"
SERVERLESS: Final = ("test_process_*.py", "*_sigkill.py")


def main(arguments: list[str]) -> int:
    """Run both lanes: 0 if all tests passed, otherwise what pytest gave for the first lane that failed."""
    signal.signal(signal.SIGTERM, _end)
    pytest = [sys.executable, "-m", "pytest", *arguments]
    with tempfile.TemporaryFile() as said:
        others = subprocess.Popen(["nice", "-n", "5", *pytest, *_others()], stdout=said, stderr=subprocess.STDOUT)
        try:
            codes = (subprocess.call([*pytest, *_deployments()]), others.wait())
        finally:
            if others.poll() is None:
                others.send_signal(signal.SIGINT)
                others.wait()
            said.seek(0)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
    return next(filter(None, codes), 0)


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
