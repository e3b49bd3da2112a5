"""Fixtures of the tests of the HTTP edge."""

from collections.abc import Iterator

import pytest

from tests.web.edge import DOCUMENTS, CheckedClient, Edge, open_edge


@pytest.fixture
def edge() -> Iterator[Edge]:
    """Both applications' parts over tiers in memory."""
    with open_edge() as opened:
        yield opened


@pytest.fixture
def command(edge: Edge) -> Iterator[CheckedClient]:
    """A merchant's client of the command server."""
    with CheckedClient(edge.command_app(), DOCUMENTS["command"], edge.acme) as client:
        yield client


@pytest.fixture
def query(edge: Edge) -> Iterator[CheckedClient]:
    """The same merchant's client of the query server."""
    with CheckedClient(edge.query_app(), DOCUMENTS["query"], edge.acme) as client:
        yield client
