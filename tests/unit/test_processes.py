"""Whether a process is gone: killed, its number given to another, or not to be judged from here."""

from __future__ import annotations

import os
import subprocess
import sys

from orderctl.stores.sqlite.processes import UNKNOWN, is_gone, own_identity

TELL = """
import sys
from orderctl.stores.sqlite.processes import own_identity
print(own_identity(), flush=True)
sys.stdin.readline()
"""


def test_who_is_alive_is_not_gone() -> None:
    """This process, its parent's child, and one of which nothing is known."""
    assert str(os.getpid()) in own_identity().split()
    assert not is_gone(own_identity())
    assert not is_gone(UNKNOWN)


def test_a_killed_process_is_gone_before_anybody_waited_for_it() -> None:
    """It is there until its parent asks how it ended, and yet does nothing any more."""
    command = [sys.executable, "-c", TELL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        identity = child.stdout.readline().strip()
        assert not is_gone(identity)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(identity)
        child.wait(timeout=60)
        assert is_gone(identity)


def test_a_number_that_another_process_has_now() -> None:
    """When it started tells them apart."""
    namespace, pid, start_ticks = own_identity().split()
    assert is_gone(f"{namespace} {pid} {int(start_ticks) - 1}")


def test_a_process_of_another_namespace_is_not_judged() -> None:
    """A container counts by itself: nothing can be said of its numbers here."""
    _, pid, _ = own_identity().split()
    assert not is_gone(f"pid:[1] {pid} 1")
    assert not is_gone("pid:[1] 4194305 1")
