"""Positions in a binlog: what they say, what they hold, and what is none."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderctl.errors import TierRejected
from orderctl.stores.binlog_events import Kind, mysql_previous
from orderctl.stores.binlog_positions import Gtid, mariadb_gtid, mysql_gtid, parse_mariadb, parse_mysql
from orderctl.stores.binlog_stream import check_settings
from tests.unit.binlog_kit import SOURCE, made

OTHER = "ffffffff-71ca-11e1-9e33-c80aa9429562"
GOOD = {
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
}


def gtid(number: int, source: str = str(SOURCE)) -> Gtid:
    return Gtid(source, number, f"{source}:{number}")


@pytest.mark.parametrize("text", ["", "0-1-7", "0-1-7,1-2-40", "0-4294967295-18446744073709551615,10-1-1"])
def test_mariadbs_are_written_as_they_were_read(text: str) -> None:
    """Domains sorted as numbers."""
    assert str(parse_mariadb(text)) == text
    assert str(parse_mariadb(",".join(reversed(text.split(","))))) == text


@pytest.mark.parametrize("text", ["x", "0-1", "0-1-7,", " 0-1-7", "0-1--7", "0-1-7\n", "\u0663-1-7", f"{SOURCE}:1"])
def test_what_is_none_of_mariadbs_is_refused(text: str) -> None:
    """MySQL's among it."""
    with pytest.raises(ValueError, match="no position of a MariaDB"):
        parse_mariadb(text)


def test_mariadbs_hold_the_last_of_each_domain() -> None:
    """A number up to it was read, whichever server gave it out; a promoted server goes on in the same domain."""
    position = parse_mariadb("0-1-7")
    assert [position.has(mariadb_gtid(0, 1, number)) for number in (6, 7, 8)] == [True, True, False]
    assert not position.has(mariadb_gtid(1, 1, 1))
    position.add(mariadb_gtid(0, 2, 8))
    position.add(mariadb_gtid(1, 2, 1))
    assert str(position) == "0-2-8,1-2-1"
    assert position.includes(parse_mariadb("0-1-7"))
    assert position.includes(parse_mariadb(""))
    assert not parse_mariadb("0-1-7").includes(position)
    assert not parse_mariadb("").includes(position)


@pytest.mark.parametrize("text", ["", f"{SOURCE}:1", f"{SOURCE}:1-7", f"{SOURCE}:1-7:9:11-12,{OTHER}:5"])
def test_mysqls_are_written_as_they_were_read(text: str) -> None:
    """The server writes them over several lines; what is sent to it and what it notes in files is the same."""
    position = parse_mysql(text)
    assert str(position) == text
    assert str(parse_mysql(text.upper().replace(",", ",\n"))) == text
    assert str(mysql_previous(made(Kind.MYSQL_PREVIOUS, position.packed()))) == text


@pytest.mark.parametrize(
    "text", ["x", "0-1-7", f"{SOURCE}", f"{SOURCE}:0", f"{SOURCE}:1-", f"{SOURCE}:1,", f"{SOURCE}:tag:1"]
)
def test_what_is_none_of_mysqls_is_refused(text: str) -> None:
    """MariaDB's among it, and the tags of 8.4."""
    with pytest.raises(ValueError, match="no position of a MySQL"):
        parse_mysql(text)


def test_mysqls_are_packed_as_the_manual_draws_it() -> None:
    """A count, and for each source its bytes and its ranges, which end in front of their second number."""
    packed = parse_mysql(f"{SOURCE}:1-7:9").packed()
    numbers = [2, 1, 8, 9, 10]
    assert packed == (1).to_bytes(8, "little") + SOURCE.bytes + b"".join(n.to_bytes(8, "little") for n in numbers)


@given(st.lists(st.tuples(st.sampled_from([str(SOURCE), OTHER]), st.integers(1, 30))), st.integers(1, 30))
def test_mysqls_are_sets(added: list[tuple[str, int]], other: int) -> None:
    """Whatever the order in which transactions come: ranges are joined, and nothing is in them that was not read."""
    position = parse_mysql("")
    for source, number in added:
        position.add(gtid(number, source))
    for source in (str(SOURCE), OTHER):
        for number in range(1, 32):
            assert position.has(gtid(number, source)) == ((source, number) in added)
    ranges = list(position.ranges())
    assert all(a[0] != b[0] or a[2] + 1 < b[1] for a, b in pairwise(ranges))
    assert str(parse_mysql(str(position))) == str(position)
    more = parse_mysql(str(position))
    more.add(gtid(other))
    assert more.includes(position)
    assert position.includes(more) == ((str(SOURCE), other) in added)


def test_a_gtid_is_written_as_the_server_writes_it() -> None:
    """People look for it in the server's own tools."""
    assert mariadb_gtid(0, 1, 7) == Gtid("0", 7, "0-1-7")
    assert mysql_gtid(SOURCE.bytes, 7) == gtid(7)


def test_settings_as_they_must_be() -> None:
    """On MariaDB, which does not know some, and on MySQL, which tells others; 1 and 0 are ON and OFF."""
    check_settings(GOOD | {"log_bin": "1", "log_bin_compress": "OFF"})
    check_settings(GOOD | {"gtid_mode": "ON", "binlog_transaction_compression": "0"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_bin", "OFF"),
        ("binlog_format", "MIXED"),
        ("binlog_row_image", "MINIMAL"),
        ("binlog_row_metadata", "MINIMAL"),
        ("binlog_row_metadata", None),
        ("gtid_mode", "OFF_PERMISSIVE"),
        ("log_bin_compress", "ON"),
        ("binlog_transaction_compression", "ON"),
    ],
)
def test_a_setting_that_makes_the_binlog_unreadable_is_named(name: str, value: str | None) -> None:
    """With the value that it must have."""
    settings = {**GOOD, name: value}
    with pytest.raises(TierRejected, match=name) as caught:
        check_settings({name: value for name, value in settings.items() if value is not None})
    assert str(caught.value.hint).startswith(f"set {name} = ")
