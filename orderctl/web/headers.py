"""The request headers that decide: conditions by entity tag (RFC 9110) and how long to wait (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from orderctl.web.problems import INVALID_REQUEST, Problem

_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_TAGS: Final = re.compile(rf"[ \t,]*(?:{_TAG.pattern}[ \t]*(?:,[ \t,]*|$))+")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,15}")
_WAIT: Final = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?', re.IGNORECASE)


def etag(version: int) -> str:
    """The entity tag of an order at that version."""
    return f'"{version}"'


def if_match(lines: Sequence[str]) -> tuple[int, ...] | None:
    """The versions that If-Match allows; None allows any. A weak tag, or one that is no version, matches none.

    Raises:
        Problem: 400; the header is not a list of entity tags.

    """
    value = ", ".join(lines).strip()
    if not lines or value == "*":
        return None
    if _TAGS.fullmatch(value) is None:
        raise Problem(INVALID_REQUEST, 'If-Match: expected versions in double quotes, such as "7", or *')
    return tuple(int(tag) for weak, tag in _TAG.findall(value) if not weak and _VERSION.fullmatch(tag))


def if_none_match(lines: Sequence[str], version: int) -> bool:
    """Whether If-None-Match names the version, so that the reader has it already; weak or strong does not matter here."""
    if not lines:
        return False
    value = ", ".join(lines).strip()
    return value == "*" or str(version) in {tag for _, tag in _TAG.findall(value)}


def wait_s(lines: Sequence[str]) -> int | None:
    """The seconds that `Prefer: wait=` asks for, None where it asks for none. What is not understood is passed over."""
    if not lines:
        return None
    for preference in ",".join(lines).split(","):
        if match := _WAIT.fullmatch(preference.partition(";")[0].strip()):
            return int(match[1])
    return None
