"""Reads the daemons' /metrics: every number of a process by its name and labels, and what happened between two looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

import httpx2
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from orderctl.admin.servers import is_fresh
from orderctl.stores.registry import Heartbeat

LIMIT_S: Final = 1.5
ALL_IN_ONE_PORT: Final = 8700
"""Where several daemons in one process listen unless the configuration says otherwise."""
APIS: Final = frozenset({"command", "query"})
ORDERCTL: Final = "orderctl_"

Series = tuple[str, frozenset[tuple[str, str]]]
Numbers = Mapping[Series, float]


class Sample(Struct, frozen=True):
    """The numbers of each process by its admin server's URL, at a moment of this machine's monotonic clock."""

    at_s: float
    processes: dict[str, Numbers]


def admin_urls(
    heartbeats: Sequence[Heartbeat], ports: Mapping[str, int], *, bind: str | None, now_us: int
) -> tuple[str, ...]:
    """Where metrics may be read: what the daemons said, and where else they are by default.

    A daemon without an API says where its admin server is. Of servers that are without such a daemon in their process only the
    API is known: the admin server is looked for at the same host, at the port of the manifest (`ports` has those by the
    daemon's name), and at the one of several daemons in one process.
    """
    alive = [beat for beat in heartbeats if beat.address and is_fresh(beat, now_us=now_us)]
    said = {_process(beat): str(beat.address) for beat in alive if beat.daemon not in APIS}
    guessed = [
        f"http://{_host(str(beat.address))}:{port}"
        for beat in alive
        if beat.daemon in APIS and _process(beat) not in said
        for port in (ports.get(beat.daemon), ALL_IN_ONE_PORT)
        if port is not None
    ]
    configured = [f"http://{bind}"] if bind and not bind.endswith(":0") else []
    return tuple(dict.fromkeys([*said.values(), *configured, *guessed]))


def scrape(urls: Iterable[str], at_s: float, *, limit_s: float = LIMIT_S) -> Sample:
    """Read all at once. Who does not answer within `limit_s`, or is somebody else, is left out."""
    wanted = list(urls)
    with (
        httpx2.Client(timeout=limit_s, trust_env=False, headers={"User-Agent": "orderctl"}) as http,
        ThreadPoolExecutor(max_workers=max(1, min(16, len(wanted)))) as pool,
    ):
        found = zip(wanted, pool.map(lambda url: _read(http, url), wanted), strict=True)
        return Sample(at_s, {url: numbers for url, numbers in found if numbers})


def parse(text: str) -> Numbers:
    """The numbers in an exposition.

    Raises:
        ValueError: it is none.

    """
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(ORDERCTL) and not sample.name.endswith(("_bucket", "_created"))
    }


def increases(before: Sample, after: Sample) -> dict[Series, float]:
    """By how much each counter rose, over all processes. One that fell was begun anew with its process."""
    total: dict[Series, float] = {}
    for url, numbers in after.processes.items():
        if (old := before.processes.get(url)) is None:
            continue
        for series, value in numbers.items():
            was = old.get(series, 0.0)
            total[series] = total.get(series, 0.0) + (value - was if value >= was else value)
    return total


def of_name(numbers: Numbers, name: str) -> list[tuple[dict[str, str], float]]:
    """Every number of this metric, with its labels."""
    return [(dict(labels), value) for (found, labels), value in numbers.items() if found == ORDERCTL + name]


def _read(http: httpx2.Client, url: str) -> Numbers | None:
    try:
        answer = http.get(f"{url}/metrics")
        return parse(answer.text) if answer.status_code == 200 else None
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return None


def _process(beat: Heartbeat) -> str:
    """What the instances of one process have in common."""
    return beat.instance.partition("@")[2]


def _host(url: str) -> str:
    host = urlsplit(url).hostname or "127.0.0.1"
    return f"[{host}]" if ":" in host else host
