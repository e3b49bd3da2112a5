"""How a line of the audit log holds on to the one before it, so that a line changed, removed or moved is noticed.

    {"at":…, "action":…, …, "prev":"<digest of the line before>", "digest":"<SHA-256 of this line up to here>"}

`prev` of the first line is 64 zeros. Behind a line without a digest (of a version that wrote none, or cut short by a crash) it
is the SHA-256 of all that the file holds before the line, so that those lines are covered, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Struct

NOTHING_BEFORE: Final = "0" * 64
_SEALED: Final = re.compile(rb'(\{.*,"prev":"([0-9a-f]{64})"),"digest":"([0-9a-f]{64})"\}', re.DOTALL)


class Seal(Struct, frozen=True):
    """What a line says of itself and of the one before it. `is_true`: the line is as it was when its digest was made."""

    prev: str
    digest: str
    is_true: bool


def seal(line: Mapping[str, Any], *, prev: str) -> bytes:
    """The bytes of a line, without its end, that follows the one whose digest is `prev`."""
    body = msgspec.json.encode({**line, "prev": prev})[:-1]
    return body + f',"digest":"{sha256(body).hexdigest()}"}}'.encode()


def seal_of(line: bytes) -> Seal | None:
    """The seal of a line, without its end; None where it has none."""
    found = _SEALED.fullmatch(line)
    if found is None:
        return None
    body, prev, digest = found.groups()
    return Seal(prev.decode(), digest.decode(), sha256(body).hexdigest().encode() == digest)


class Problem(Struct, frozen=True):
    """What is wrong with a line, the first of which is 1."""

    line: int
    problem: str


class Verification(Struct, frozen=True):
    """What the chain says of a whole log.

    `unchained` lines come before the first with a digest, `cut_short` ones were ended by a crash; both are covered by the line
    behind them. `head` is the last line's digest: who keeps it elsewhere sees by it, later, whether lines went at the end, which
    the log alone cannot tell.
    """

    lines: int
    chained: int
    unchained: int
    cut_short: int
    head: str | None
    intact: bool
    problems: list[Problem]


def verify(lines: Iterable[bytes], *, expected: str | None = None) -> Verification:
    """Look through a log's lines, each with its end. `expected` is a digest that was the head at some time."""
    chain = _Chain()
    for line in lines:
        chain.add(line)
    return chain.end(expected)


class _Chain:
    """The lines looked at so far."""

    def __init__(self) -> None:
        self._everything = sha256()
        self._prev = NOTHING_BEFORE
        self._lines = self._chained = self._unchained = self._cut_short = 0
        self._is_ended = True
        self._digests: set[str] = set()
        self._problems: list[Problem] = []

    def add(self, line: bytes) -> None:
        self._lines += 1
        self._is_ended = line.endswith(b"\n")
        self._everything.update(line)
        found = seal_of(line.removesuffix(b"\n"))
        if found is None:
            self._add_unchained(line)
            self._prev = self._everything.hexdigest()
            return
        self._chained += 1
        self._digests.add(found.digest)
        if not found.is_true:
            self._wrong("it was changed")
        if found.prev != self._prev:
            self._wrong("it does not follow the line before it: one was changed, removed, put in or moved")
        self._prev = found.digest

    def end(self, expected: str | None) -> Verification:
        if not self._is_ended:
            self._wrong("it is cut short: by a crash, or by somebody")
        if expected is not None and expected not in self._digests:
            self._wrong(
                "no line up to here has the digest that was expected: lines were removed at the end, or written anew"
            )
        return Verification(
            lines=self._lines,
            chained=self._chained,
            unchained=self._unchained,
            cut_short=self._cut_short,
            head=self._prev if self._chained else None,
            intact=not self._problems,
            problems=self._problems,
        )

    def _add_unchained(self, line: bytes) -> None:
        if not self._chained:
            self._unchained += 1
        elif _is_whole(line):
            self._wrong("it has no digest, and the lines before it have")
        else:
            self._cut_short += 1

    def _wrong(self, problem: str) -> None:
        self._problems.append(Problem(self._lines, problem))


def _is_whole(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return True
