"""One key of the configuration: what its value may be, in words for people and as a check, wherever the key stands."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, get_args, get_type_hints

import msgspec
from msgspec import Struct

from orderctl.duration import Duration
from orderctl.errors import ConfigError
from orderctl.ids import is_valid_group_count
from orderctl.secret import Secret
from orderctl.sections import YEAR_S

SHOWN_MAX: Final = 60
"""How much of a wrong value is shown."""
_FILE: Final = "_file"
_BIND: Final = re.compile(r"(?:[^\s:]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})")


@cache
def keys_of(section: type[Struct]) -> dict[str, Any]:
    """Each key of a section or table and its type, its meaning in the annotation."""
    return get_type_hints(section, include_extras=True)


def twin_of(key: str) -> str:
    """The key that says the same in another way: a secret, or the file that holds it."""
    return key.removesuffix(_FILE) if key.endswith(_FILE) else key + _FILE


def describe(wanted: Any) -> tuple[str, str]:
    """What a key means, and what its value may be, in words."""
    _, meta = get_args(wanted)
    return meta.description, _expected(wanted)


def converted(where: str, place: str, wanted: Any, value: Any) -> Any:
    """`value` as the key's type.

    Args:
        where: the file or variable that says it.
        place: the section and key.
        wanted: the key's annotated type.
        value: as TOML, or `from_text`, has it.

    Raises:
        ConfigError: it cannot be that; the message says what is expected.

    """
    rules = get_args(wanted)[1].extra or {}
    if "tables" in rules and isinstance(value, list) and all(isinstance(table, dict) for table in value):
        header = f"[[{place.replace('] ', '.').removeprefix('[')}]]"
        return tuple(_table(where, header, rules["tables"], table) for table in value)
    try:
        found = msgspec.convert(value, wanted, dec_hook=_decode)
        if _keeps_rules(found, rules):
            return found
    except msgspec.ValidationError:
        pass
    raise ConfigError(f"{where}: {place}: expected {_expected(wanted)}, got {_shown(wanted, value)}")


def from_text(wanted: Any, text: str) -> Any:
    """What a file would hold where the environment has `text`: a list's items with commas, or as JSON."""
    rules = get_args(wanted)[1].extra or {}
    if "items" in rules or "tables" in rules:
        try:
            return json.loads(text)
        except ValueError:
            return [item.strip() for item in text.split(",")]
    if get_args(wanted)[0] is int and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return text


def require_key(where: str, header: str, key: str, known: Iterable[str]) -> None:
    """Refuse a key that there is not, naming the nearest that there is."""
    if key not in (names := list(known)):
        raise ConfigError(f"{where}: there is no key `{key}` in {header}{nearest(key, names)}")


def require_one_of_twins(where: str, header: str, keys: Mapping[str, Any]) -> None:
    """Refuse a secret that is said twice: nobody could know which one is meant."""
    for key in keys:
        if f"{key}{_FILE}" in keys:
            raise ConfigError(f"{where}: {header} has both `{key}` and `{key}{_FILE}`: keep one")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names what was probably meant."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; there is {', '.join(names)}"


def _table(where: str, header: str, section: type[Struct], table: dict[str, Any]) -> Struct:
    known = keys_of(section)
    values: dict[str, Any] = {}
    for key, value in table.items():
        require_key(where, header, key, known)
        values[key] = converted(where, f"{header} {key}", known[key], value)
    for field in msgspec.structs.fields(section):
        if field.required and field.name not in table:
            raise ConfigError(f"{where}: {header}: `{field.name}` is missing: {_expected(known[field.name])}")
    require_one_of_twins(where, header, table)
    return section(**values)


def _expected(wanted: Any) -> str:
    """What a value may be: as its rules say it, else as its type does."""
    annotated, meta = get_args(wanted)
    match meta.extra or {}:
        case {"expected": words}:
            return str(words)  # in the key's own words
        case {"max_s": max_s, "above_zero": above_zero}:
            limit = f", at most {Duration(max_s)}" if max_s < YEAR_S else ""
            return f"a duration{' above 0' if above_zero else ''} such as 500ms, 2s, 15m or 1h{limit}"
        case {"items": items}:
            return f"a list of {items}"
        case {"tables": table}:
            return f"tables with {', '.join(keys_of(table))}"
        case {"power_of_two": _}:
            return f"a power of two from {meta.ge} to {meta.le}"
        case _:
            return _expected_by_type(annotated, meta)


def _expected_by_type(annotated: Any, meta: msgspec.Meta) -> str:
    if annotated is int:
        return f"an integer from {meta.ge} to {meta.le}"
    if choices := [choice for choice in get_args(annotated) if isinstance(choice, str)]:
        return f"one of {', '.join(choices)}"
    limit = f" of at most {meta.max_length} visible ASCII characters" if meta.max_length else ""
    return f"text{limit}"


def _keeps_rules(value: Any, rules: dict[str, Any]) -> bool:
    """Whether `value` keeps the rules that a type's constraints cannot say."""
    if "max_s" in rules:
        return 0.0 <= value <= rules["max_s"] and not (rules["above_zero"] and value == 0)
    if "bind" in rules:
        return _is_address(value)
    if "items" in rules:
        return all(_is_address(item) if rules["items"] == "HOST:PORT" else item for item in value)
    if "power_of_two" in rules:
        return is_valid_group_count(value)
    if "pattern" in rules:
        return re.fullmatch(rules["pattern"], value) is not None
    return "not_empty" not in rules or value != ""


def _is_address(text: str) -> bool:
    match = _BIND.fullmatch(text)
    return match is not None and int(match[1]) <= 65_535


def _shown(wanted: Any, value: Any) -> str:
    """A wrong value, shortened; never one that might be a secret."""
    if _is_secret(wanted):
        return "something else"
    got = json.dumps(value, default=str, ensure_ascii=False)
    return got if len(got) <= SHOWN_MAX else got[: SHOWN_MAX - 3] + "…"


def _is_secret(wanted: Any) -> bool:
    return Secret in get_args(get_args(wanted)[0])


def _decode(wanted: type, value: object) -> object:
    if wanted is Duration and isinstance(value, str):
        return Duration.parse(value)
    if wanted is Secret and isinstance(value, str) and value:
        return Secret(value)
    raise ValueError(f"not a {wanted.__name__}")
