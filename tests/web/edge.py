"""Both HTTP applications over embedded tiers in memory, and clients that hold every answer against the documents."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from orderctl.order import Role
from orderctl.services.keys import KeyRing, mint
from orderctl.services.query import QueryService
from orderctl.web.admin_app import admin_app
from orderctl.web.command_app import command_app
from orderctl.web.edge import EdgeSettings
from orderctl.web.query_app import query_app
from tests.services.tiers import Bench, open_bench
from tests.web.contract import Document

SETTINGS = EdgeSettings(wait_max_s=1.0)
DOCUMENTS = {"command": Document("command.yaml"), "query": Document("query.yaml")}


class FakeProbe:
    """A process that is as the test says."""

    def __init__(self) -> None:
        self.ill: list[str] = []
        self.unready: list[str] = []
        self.lacking: list[str] = []

    def not_alive(self) -> list[str]:
        return self.ill

    def not_ready(self) -> list[str]:
        return self.unready

    def degraded(self) -> list[str]:
        return self.lacking

    def status(self) -> dict[str, Any]:
        return {"daemons": [], "tiers": []}


class CheckedClient(TestClient):
    """A client that holds every answer against a document, and sends a key unless told otherwise."""

    def __init__(self, app: ASGIApp, document: Document | None, key: str) -> None:
        super().__init__(app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {key}"})
        self._document = document

    def request(self, method: str, url: Any, **kwargs: Any) -> httpx2.Response:
        response = super().request(method, url, **kwargs)
        assert response.headers["x-request-id"]
        if self._document is not None:
            body = response.json() if response.content else None
            path = response.request.url.path
            self._document.check(method, path, response.status_code, response.headers, body)
        return response


class Edge:
    """Everything a test of the HTTP edge needs: the tiers, the applications, and a key of each kind."""

    def __init__(self, bench: Bench, executor: ThreadPoolExecutor, settings: EdgeSettings) -> None:
        self.bench = bench
        self.executor = executor
        self.settings = settings
        self.probe = FakeProbe()
        self.keys = KeyRing(bench.tiers.registry)
        self.acme = self.add_key(Role.MERCHANT, "acme")
        self.rival = self.add_key(Role.MERCHANT, "rival")
        self.gateway = self.add_key(Role.GATEWAY, None)

    def add_key(self, role: Role, merchant_id: str | None) -> str:
        """A fresh key that the servers know."""
        made = mint(role, merchant_id, now_us=self.bench.clock.now_us())
        assert self.bench.tiers.registry.add_key(made.key)
        self.keys.reload()
        return made.secret

    def command_app(self, service: Any = None) -> ASGIApp:
        return command_app(service or self.bench.command(), self.keys, **self._common())

    def query_app(self, service: QueryService | None = None) -> ASGIApp:
        query, references = service or self.bench.query(), self.bench.references()
        return query_app(query, references, self.keys, late=self.bench.late_reader(), **self._common())

    def admin_app(self) -> ASGIApp:
        return admin_app(self.probe, lambda: b"# metrics\n")

    def _common(self) -> dict[str, Any]:
        return {
            "clock": self.bench.clock,
            "metrics": self.bench.metrics,
            "probe": self.probe,
            "executor": self.executor,
            "settings": self.settings,
        }


@contextmanager
def open_edge(settings: EdgeSettings = SETTINGS) -> Iterator[Edge]:
    """An edge whose tiers and threads are let go of in the end."""
    with open_bench() as bench, ThreadPoolExecutor(4) as executor:
        yield Edge(bench, executor, settings)


def new_order(ref: str = "r-1", **members: Any) -> dict[str, Any]:
    """The body of a creation."""
    return {"merchant_ref": ref, "amount": 1999, "currency": "EUR", "payment_method": "card", **members}


def as_key(key: str) -> dict[str, str]:
    """The header that shows `key`."""
    return {"Authorization": f"Bearer {key}"}


def pointers(response: httpx2.Response) -> list[str]:
    """Where a problem says that something is wrong."""
    return [error["pointer"] for error in response.json()["errors"]]
