"""How a database holds a late result: its columns, its key, and its place among the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from orderctl.order import Status
from orderctl.stores.late import LateKey, LateResult
from orderctl.stores.rows import id_bytes, id_text

NO_REASON: Final = bytes(32)
"""Stands for no reason, which is not the same as an empty one. No text is known to have it as its digest."""

Place = tuple[int, str, str, bytes]


def reason_digest(reason: str | None) -> bytes:
    """32 bytes that stand for a reason in a key: the text itself is too long for one, and may be NULL."""
    return NO_REASON if reason is None else sha256(reason.encode(errors="surrogatepass")).digest()


def late_row(result: LateResult) -> dict[str, object]:
    """The parameters that write a late result, or name it by its key."""
    return msgspec.structs.asdict(result) | {
        "order_id": id_bytes(result.order_id),
        "status": result.status.value,
        "reason_digest": reason_digest(result.status_reason),
    }


def late_of(row: Sequence[Any]) -> LateResult:
    """The late result in a row of order id, status, reason and time."""
    order_id, status, reason, received_at = row
    return LateResult(
        id_text(order_id), Status(status.decode() if isinstance(status, bytes) else status), reason, received_at
    )


def place(result: LateResult) -> Place:
    """Where it stands among all others: by time, then by its key."""
    return result.received_at, result.order_id, result.status.value, reason_digest(result.status_reason)


def by_key(result: LateResult) -> tuple[str, str, bytes, int]:
    """Where its row is locked before others', so that two batches do not wait for each other in a circle."""
    return result.order_id, result.status.value, reason_digest(result.status_reason), result.received_at


def firsts(results: Iterable[LateResult]) -> list[LateResult]:
    """Of each key the first one, sorted by key."""
    first: dict[LateKey, LateResult] = {}
    for result in results:
        first.setdefault(result.key, result)
    return sorted(first.values(), key=by_key)


def earliest(results: Iterable[LateResult]) -> list[LateResult]:
    """Of each key the one that was received first; they in the order in which they were received."""
    return sorted(firsts(sorted(results, key=place)), key=place)


def of_each(order_ids: Sequence[str], results: Iterable[LateResult]) -> list[list[LateResult]]:
    """The results of each order, in the order asked, the earliest received first."""
    by_order: defaultdict[str, list[LateResult]] = defaultdict(list)
    for result in sorted(results, key=place):
        by_order[result.order_id].append(result)
    return [list(by_order[order_id]) for order_id in order_ids]
