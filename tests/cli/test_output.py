"""What goes to stdout: tables that people can read, JSON that programs can rely on."""

from __future__ import annotations

import json

import pytest

from orderctl.cli.output import Format, cell, columns, emit, note, pairs, printable


def test_pairs_stand_below_each_other() -> None:
    """Names are padded to the longest, what is missing is a dash."""
    assert pairs({"a": 1, "longer": None, "yes": True}) == "a       1\nlonger  -\nyes     yes\n"


def test_columns_are_as_wide_as_they_must_be() -> None:
    """Each column fits its widest cell, and no line ends in white space."""
    assert columns(("id", "state"), [("x", None), ("longer", "up")]) == "ID      STATE\nx       -\nlonger  up\n"


def test_no_rows_is_a_line_of_titles() -> None:
    """An empty table still says what it would show."""
    assert columns(("id", "state"), []) == "ID  STATE\n"


def test_what_merchants_sent_does_not_steer_a_terminal() -> None:
    """Control characters are spelt out; letters of any language stay."""
    assert printable("\x1b[31mréd\u202e\n") == "\\x1b[31mréd\\u202e\\n"
    assert cell("a\tb") == "a\\tb"


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (Format.TABLE, "a table\n"),
        (Format.JSON, '[\n  {\n    "a": 1\n  },\n  {\n    "a": 2\n  }\n]\n'),
        (Format.JSONL, '{"a":1}\n{"a":2}\n'),
    ],
)
def test_a_list_in_each_format(output: Format, shown: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """JSON is one document, JSON lines one for each item."""
    emit([{"a": 1}, {"a": 2}], output, table="a table")
    assert capfdbinary.readouterr().out == shown.encode()


def test_an_empty_list_is_no_lines(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Programs that count lines count none."""
    emit([], Format.JSONL, table="")
    assert capfdbinary.readouterr().out == b""


def test_a_value_is_one_line(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A value that is no list is a line of its own."""
    emit({"a": "é"}, Format.JSONL, table="")
    assert json.loads(capfdbinary.readouterr().out) == {"a": "é"}


def test_a_note_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """What is said beside the data does not mix with it."""
    note("look\x07")
    assert capsys.readouterr() == ("", "orderctl: look\\x07\n")
