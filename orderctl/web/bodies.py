"""A request's JSON made values, or a 400 that says what is wrong and where.

The fast path decodes straight into the types. Only what that refuses goes the slow way: JSON into plain values, where a
repeated member's last value counts as RFC 8259 leaves it to us, and then each member checked by itself, so that everything
wrong is said at once, and in a batch only of the item that is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NoReturn, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo, fields
from starlette.requests import Request

from orderctl.order import FieldError
from orderctl.web.edge import ITEMS_MAX
from orderctl.web.problems import UNSUPPORTED_MEDIA_TYPE, Problem, invalid
from orderctl.web.shapes import EXPECTED

T = TypeVar("T", bound=Struct)
Further = Callable[[Any], Iterator[FieldError]]
"""What a type cannot say of a value, such as a size."""

_DIGITS_MAX = 30
_SHOWN_MAX = 40
NOT_UNICODE = "not Unicode text: half of a surrogate pair"


async def read_json(request: Request) -> bytes:
    """The request's body, which says of itself that it is JSON.

    Raises:
        Problem: 415, 413 or 408.

    """
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    names = {name.strip().lower(): value.strip().strip('"').lower() for name, _, value in _pairs(parameters)}
    if media_type.strip().lower() != "application/json" or names.get("charset", "utf-8") not in {"utf-8", "utf8"}:
        raise Problem(UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json, in UTF-8")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(UNSUPPORTED_MEDIA_TYPE, "expected a body without Content-Encoding")
    return await request.body()


def _pairs(parameters: str) -> Iterator[tuple[str, str, str]]:
    return (parameter.partition("=") for parameter in parameters.split(";"))


class Decoder(Generic[T]):
    """Decodes one object of a type; `further` checks what the type cannot say."""

    def __init__(self, type_: type[T], further: Further = lambda _value: iter(())) -> None:
        self._type = type_
        self._decode = msgspec.json.Decoder(type_).decode
        self._fields = {field.encode_name: field for field in fields(type_)}
        self._further = further

    def decode(self, body: bytes) -> T:
        """The value in `body`.

        Raises:
            Problem: 400 with every member that is wrong.

        """
        try:
            value = self._decode(body)
        except (ValueError, RecursionError):  # every error of msgspec's, and what is not UTF-8
            return self.convert(load(body))
        return self.check(value)

    def check(self, value: T) -> T:
        """`value`, if `further` finds nothing wrong with it."""
        if errors := tuple(self._further(value)):
            raise invalid(errors)
        return value

    def convert(self, value: object) -> T:
        """As `decode`, from plain values."""
        if not isinstance(value, dict):
            raise invalid([FieldError("", f"expected an object; got {_shown(value)}")])
        errors = [error for name, field in self._fields.items() for error in _wrong(value, name, field)]
        errors += [FieldError(pointer(name), "there is no such member") for name in value if name not in self._fields]
        if errors:
            raise invalid(errors)
        return self.check(msgspec.convert(value, self._type))


class BatchDecoder(Generic[T]):
    """Decodes `{"<member>": [item, …]}`. An item that is wrong becomes its own Problem; the others are as they are."""

    def __init__(self, member: str, items: Decoder[T], type_: type[T]) -> None:
        self._member = member
        self._items = items
        envelope = msgspec.defstruct("Envelope", [(member, list[type_])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self._decode = msgspec.json.Decoder(envelope).decode

    def decode(self, body: bytes) -> list[T | Problem]:
        """The items in `body`, at most 500.

        Raises:
            Problem: 400; it is no such object, or it holds more.

        """
        values: Sequence[object]
        try:
            values, one = getattr(self._decode(body), self._member), self._items.check
        except (ValueError, RecursionError):
            values, one = self._load(body), self._items.convert
        if len(values) > ITEMS_MAX:
            raise invalid([FieldError(pointer(self._member), f"{len(values)} items; at most {ITEMS_MAX}")])
        return [_or_problem(one, value) for value in values]

    def _load(self, body: bytes) -> list[object]:
        value = load(body)
        if not isinstance(value, dict):
            raise invalid([FieldError("", f"expected an object; got {_shown(value)}")])
        errors = [FieldError(pointer(name), "there is no such member") for name in value if name != self._member]
        items = value.get(self._member)
        if not isinstance(items, list):
            got = _shown(items) if self._member in value else "nothing"
            errors.append(
                FieldError(pointer(self._member), f"expected an array of at most {ITEMS_MAX} items; got {got}")
            )
        if errors:
            raise invalid(errors)
        assert isinstance(items, list)
        return items


def _or_problem(one: Callable[[Any], T], value: object) -> T | Problem:
    try:
        return one(value)
    except Problem as problem:
        return problem


def load(body: bytes) -> object:
    """The plain values in `body`.

    Raises:
        Problem: 400; it is not JSON in UTF-8, or is nested too deeply. The detail says at which byte.

    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise invalid([FieldError("", f"not UTF-8 at byte {error.start}")]) from None
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_int=_parse_int)
    except json.JSONDecodeError as error:
        at = len(text[: error.pos].encode())
        raise invalid([FieldError("", f"not JSON at byte {at}: {error.msg[0].lower()}{error.msg[1:]}")]) from None
    except RecursionError:
        raise invalid([FieldError("", "nested too deeply")]) from None


def _refuse_constant(name: str) -> NoReturn:
    raise invalid([FieldError("", f"not JSON: there is no {name} in it")])


def _parse_int(digits: str) -> int:
    """Numbers too long for any member are cut: they stay out of range, and cost nothing."""
    return int(digits[:_DIGITS_MAX])


def _wrong(value: dict[str, object], name: str, field: FieldInfo) -> Iterator[FieldError]:
    """What is wrong with one member of an object."""
    if name not in value:
        if field.required:
            yield FieldError(pointer(name), f"missing: {EXPECTED[name]}")
        return
    member = value[name]
    if isinstance(member, dict) and field.type == dict[str, str]:
        for key, text in member.items():
            if not (isinstance(text, str) and _is_unicode(key) and _is_unicode(text)):
                why = NOT_UNICODE if isinstance(text, str) else "not a string"
                yield FieldError(pointer(name, key), why)
    elif isinstance(member, str) and not _is_unicode(member):
        yield FieldError(pointer(name), NOT_UNICODE)
    elif not _fits(member, field.type):
        yield FieldError(pointer(name), f"not {EXPECTED[name]}; got {_shown(member)}")


def _fits(value: object, type_: Any) -> bool:
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError:
        return False
    return True


def _is_unicode(text: str) -> bool:
    """Whether `text` can be stored: JSON can escape half of a surrogate pair, which is no text."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _shown(value: object) -> str:
    """A value in an error's text: short, and nothing of what objects and arrays hold."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"


def pointer(*names: str) -> str:
    """A JSON pointer (RFC 6901) to that member. What of a name is not Unicode is shown as `?`."""
    return "".join("/" + _printable(name).replace("~", "~0").replace("/", "~1") for name in names)


def _printable(name: str) -> str:
    return name.encode(errors="replace").decode()
