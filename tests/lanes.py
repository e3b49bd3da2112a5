"""Every test, in two lanes side by side: tests of whole deployments wait more than they work, and the others fill that time.

    python -m tests.lanes [ARGUMENTS FOR PYTEST]

What the others say is shown when they have ended; they have the lower priority, since nothing of theirs waits for a moment.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from typing import Final, NoReturn

DEPLOYMENTS: Final = ("tests/acceptance",)
OTHERS: Final = ("--ignore=tests/acceptance",)


def main(arguments: list[str]) -> int:
    """Run both lanes: 0 if all tests passed, otherwise what pytest gave for the first lane that failed."""
    signal.signal(signal.SIGTERM, _end)
    pytest = [sys.executable, "-m", "pytest", *arguments]
    with tempfile.TemporaryFile() as said:
        others = subprocess.Popen(["nice", "-n", "5", *pytest, *OTHERS], stdout=said, stderr=subprocess.STDOUT)
        try:
            codes = (subprocess.call([*pytest, *DEPLOYMENTS]), others.wait())
        finally:
            if others.poll() is None:
                others.send_signal(signal.SIGINT)
                others.wait()
            said.seek(0)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
    return next(filter(None, codes), 0)


def _end(*_signal: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
