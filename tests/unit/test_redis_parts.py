"""What the Redis store does without a server: addresses, scripts, calls, and what errors mean."""

from __future__ import annotations

import re
from hashlib import sha1
from pathlib import Path

import pytest
from redis import exceptions as driver

from orderctl.clock import ManualClock
from orderctl.errors import ConfigError, OrderctlError, TierRejected, TierUnavailable
from orderctl.order import Status
from orderctl.stores.record import FORMAT, HEADER, TOKEN_BYTES
from orderctl.stores.redis import APPLIED, open_redis_cache
from orderctl.stores.redis_calls import Call
from orderctl.stores.redis_nodes import Access, Address, translate
from orderctl.stores.redis_scripts import FOLDER, script
from orderctl.version import VERSION_MAX

SCRIPTS = ("apply", "fill", "lookup", "promote", "reset", "scan", "sync", "tentative", "touch")
PARTS = ("entry", "apply_one", "node_time", "timer")
IN_SPITE_OF_OOM = {"apply", "reset", "sync"}
READS_ONLY = {"scan"}


class TestAddresses:
    """`host:port`, as a configuration and a cluster write it."""

    @pytest.mark.parametrize(
        ("text", "host", "port"),
        [("127.0.0.1:26001", "127.0.0.1", 26001), ("redis-3.shop:1", "redis-3.shop", 1), ("[::1]:6379", "::1", 6379)],
    )
    def test_an_address_is_read_and_written(self, text: str, host: str, port: int) -> None:
        """Both ways."""
        assert Address.parse(text) == Address(host, port)
        assert str(Address(host, port)) == text

    @pytest.mark.parametrize(
        "text", ["", "localhost", ":6379", "a:", "a:0", "a:65536", "a:-1", "a:\N{SUPERSCRIPT TWO}"]
    )
    def test_what_is_no_address_is_refused(self, text: str) -> None:
        """At the start, in words of the configuration."""
        with pytest.raises(ConfigError, match=r"\[redis\] nodes"):
            open_redis_cache([text], groups=64, access=Access(), clock=ManualClock())

    def test_some_node_must_be_named(self) -> None:
        """Nobody could be asked where the others are."""
        with pytest.raises(ConfigError, match="empty"):
            open_redis_cache([], groups=64, access=Access(), clock=ManualClock())


class TestScripts:
    """The Lua files."""

    def test_every_file_is_a_script_or_a_part_of_one(self) -> None:
        """Nothing lies there unused."""
        assert {path.name for path in FOLDER.iterdir()} == {f"{name}.lua" for name in (*SCRIPTS, *PARTS)}

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_parts_are_put_in(self, name: str) -> None:
        """The digest is the whole text's, and flags stand in the first line, where Redis looks for them."""
        loaded = script(name)
        assert "-- include" not in loaded.text
        assert loaded.digest == sha1(loaded.text.encode()).hexdigest()
        assert loaded.text.startswith("#!lua flags=allow-oom\n") == (name in IN_SPITE_OF_OOM)
        assert loaded.text.startswith("#!lua flags=no-writes\n") == (name in READS_ONLY)
        assert loaded.text.count("#!") == (name in IN_SPITE_OF_OOM | READS_ONLY)

    def test_a_missing_file_is_a_broken_installation(self, tmp_path: Path) -> None:
        """Whether it is the script or a part of it."""
        (tmp_path / "torn.lua").write_text("-- include gone.lua\n", encoding="utf-8")
        for name in ("torn", "gone"):
            with pytest.raises(OrderctlError, match=r"gone\.lua") as caught:
                script(name, folder=tmp_path)
            assert caught.value.hint is not None

    def test_lua_knows_the_same_header(self) -> None:
        """Its numbers are those of `record.py`; offsets count from 1 there."""
        text = (FOLDER / "entry.lua").read_text("utf-8")
        assert f"HEADER_BYTES, STATUSES = {HEADER.size}, {len(Status)}\n" in text
        assert f"VERSION_MAX = {VERSION_MAX} " in text
        assert f"value:byte(1) ~= {FORMAT} " in text
        version_at, token_at = 4, 12
        assert HEADER.unpack(bytes(range(HEADER.size)))[3] == int.from_bytes(range(version_at, token_at), "big")
        assert f"struct.unpack('>I8', value, {version_at + 1})" in text
        assert f"value:sub({token_at + 1}, {token_at + TOKEN_BYTES})" in text

    def test_lua_numbers_what_was_done_as_python_does(self) -> None:
        """A number is a place in `APPLIED`."""
        match = re.search(r"^local (NOTHING.*) = (.*)$", (FOLDER / "apply_one.lua").read_text("utf-8"), re.MULTILINE)
        assert match is not None
        names, numbers = (part.split(", ") for part in match.groups())
        assert [(name.lower(), int(number)) for name, number in zip(names, numbers, strict=True)] == [
            (applied.value, place) for place, applied in enumerate(APPLIED)
        ]


class TestCalls:
    """What is sent for a group."""

    def test_a_script_goes_by_its_digest_or_by_its_text(self) -> None:
        """A node that does not know it is sent all of it."""
        fill = script("fill")
        call = Call(1, fill, ["a", "b"], (9,), (b"1", 2, b"3", 4))
        assert call.command(with_text=False) == ["EVALSHA", fill.digest, 2, "a", "b", 9, b"1", 2, b"3", 4]
        assert call.command(with_text=True) == ["EVAL", fill.text, 2, "a", "b", 9, b"1", 2, b"3", 4]

    def test_a_call_is_split_by_key(self) -> None:
        """Each part has its own key's arguments, and all that are for all."""
        fill = script("fill")
        parts = Call(1, fill, ["a", "b"], (9,), (b"1", 2, b"3", 4)).split()
        assert parts == [Call(1, fill, ["a"], (9,), (b"1", 2)), Call(1, fill, ["b"], (9,), (b"3", 4))]
        assert [part.command(with_text=False) for part in Call(1, "MGET", ["a", "b"]).split()] == [
            ["MGET", "a"],
            ["MGET", "b"],
        ]


class TestErrors:
    """The one place where the driver's errors become ours."""

    @pytest.mark.parametrize(
        "error",
        [
            driver.ConnectionError("refused"),
            driver.TimeoutError("nobody answers"),
            driver.AuthenticationError("WRONGPASS"),
            driver.BusyLoadingError("loading"),
            driver.ClusterDownError("down"),
            driver.MasterDownError("down"),
            driver.MovedError("7 127.0.0.1:7000"),
            driver.AskError("7 127.0.0.1:7000"),
            driver.TryAgainError("moving"),
            driver.ReadOnlyError("a replica"),
            driver.OutOfMemoryError("no room"),
            driver.InvalidResponse("no protocol"),
            driver.ResponseError("BUSY Redis is busy running a script"),
            driver.ResponseError("MISCONF stop-writes-on-bgsave-error"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_what_passes_by_itself_is_unavailable(self, error: Exception) -> None:
        """To ask again later is right, and nothing that was asked was wrong."""
        assert isinstance(translate(error), TierUnavailable)

    @pytest.mark.parametrize(
        "error",
        [
            driver.ResponseError("ERR invalid expire time in 'set' command"),
            driver.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
            driver.NoPermissionError("this user has no permissions"),
            driver.ClusterCrossSlotError("Keys in request don't hash to the same slot"),
        ],
        ids=str,
    )
    def test_what_would_be_refused_again_is_rejected(self, error: Exception) -> None:
        """A fault of ours, or of the configuration."""
        assert isinstance(translate(error), TierRejected)
