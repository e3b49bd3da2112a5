"""What daemons write to stderr: one event a line, logfmt on a terminal and JSON otherwise, and never a secret.

Members that stand where there is one: `daemon`, `request_id`, `order_id` (bound by `structlog.contextvars`). What libraries log
by the standard library (hypercorn, asyncio) takes the same way out.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from orderctl.sections import LogSection

MASK = "***"

_SECRET_NAMES = frozenset({"key", "keys", "secret", "password", "passwd", "token", "authorization", "metadata", "body"})
_SECRET_ENDINGS = ("_key", "_keys", "_secret", "_password", "_token", "_metadata")
_SECRET_TEXTS = (
    (re.compile(r"\bok_[0-9a-f]{16,}"), MASK),  # an API key, whatever text it slipped into
    (re.compile(r"(?i)\b(bearer|basic) +[^\s\"']+"), rf"\1 {MASK}"),
    (re.compile(r"(://[^/\s:@]*):[^@\s]*@"), rf"\1:{MASK}@"),  # a URL's password
)
_ORDER = ["ts", "level", "event", "daemon", "request_id", "order_id"]


class _OurHandler(logging.StreamHandler[TextIO]):
    """Marks the handler that `configure` installed, so that doing it again replaces it and leaves others'."""


def configure(section: LogSection, *, stream: TextIO | None = None) -> None:
    """Send every log line to `stream` (stderr by default), as `section` says."""
    stream = stream or sys.stderr
    is_logfmt = section.format == "logfmt" or (section.format == "auto" and stream.isatty())
    level = logging.getLevelNamesMapping()[section.level.upper()]
    handler = _OurHandler(stream)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        without_secrets,
        *(_logfmt() if is_logfmt else _json()),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _OurHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.getLogger("hypercorn").setLevel(max(level, logging.WARNING))  # its "Running on" is said by us, better
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def without_secrets(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Drop members that may hold a key, metadata, a body or a password, at any depth, and mask those that text quotes."""
    return {name: _clean(value) for name, value in event_dict.items() if not _is_secret(name)}


def _is_secret(name: str) -> bool:
    lowered = name.lower()
    return lowered in _SECRET_NAMES or lowered.endswith(_SECRET_ENDINGS)


def _clean(value: object) -> object:
    match value:
        case str():
            for pattern, replacement in _SECRET_TEXTS:
                value = pattern.sub(replacement, value)
            return value
        case dict():
            return {name: _clean(member) for name, member in value.items() if not _is_secret(str(name))}
        case list() | tuple():
            return [_clean(member) for member in value]
        case int() | float() | None:
            return value
        case _:
            return _clean(str(value))


def _json() -> list[Processor]:
    return [_ordered, structlog.processors.JSONRenderer(ensure_ascii=False)]


def _logfmt() -> list[Processor]:
    return [_printable, structlog.processors.LogfmtRenderer(key_order=_ORDER, drop_missing=True, bool_as_flag=False)]


def _ordered(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    first: EventDict = {name: event_dict[name] for name in _ORDER if name in event_dict}
    return {**first, **event_dict}


def _printable(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Escape control characters: a terminal would obey them, and a carriage return would forge a line."""
    return {_escaped(name).replace(" ", "_"): _value(value) for name, value in event_dict.items()}


def _value(value: object) -> object:
    return _escaped(value) if isinstance(value, str) else value


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode() for each in text
    )
