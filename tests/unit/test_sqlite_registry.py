"""What of the embedded registry takes too long to wait for on a real server."""

from contextlib import closing

from orderctl.clock import ManualClock
from orderctl.stores.registry import SILENCE_MAX_S, Heartbeat
from orderctl.stores.sqlite.embedded import open_embedded_hot


def a_heartbeat(instance: str) -> Heartbeat:
    return Heartbeat(instance, "query", "running", None, None)


def test_who_ended_without_a_word_is_forgotten() -> None:
    """After an hour of others' heartbeats, and not before."""
    clock = ManualClock()
    with closing(open_embedded_hot(None, groups=64, clock=clock)) as hot:
        hot.registry.beat([a_heartbeat("killed")])
        clock.advance(SILENCE_MAX_S)
        hot.registry.beat([a_heartbeat("alive")])
        assert [each.instance for each in hot.registry.heartbeats()] == ["alive", "killed"]
        clock.advance(1)
        hot.registry.beat([a_heartbeat("alive")])
        assert [each.instance for each in hot.registry.heartbeats()] == ["alive"]
