"""What all tests share: the real servers."""

from __future__ import annotations

import os
import signal

import hypothesis
import pytest

from tests.stack import EMBEDDED_ONLY, QUICK, RUNNING, RealServers, RunningStack


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a report may want larger than CI has time for."""
    parser.addoption("--orders", type=int, help="in tests over many orders, so many")


def pytest_configure(config: pytest.Config) -> None:
    """Register the real servers. Their variables are for us alone: `orderctl` knows no such settings.

    A run in a shell's background was told to ignore Ctrl-C, and would hand that down to every program that it interrupts.
    """
    # How long an example takes says more of the machine than of the code.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("without a deadline", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("without a deadline")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "needs(*parts): runs on real servers, see tests/stack.py")
    config.addinivalue_line("markers", "minutes: takes a minute or more of its own, on embedded stores")
    environ = {name: os.environ.pop(name, "") for name in (EMBEDDED_ONLY, QUICK, RUNNING)}
    config.pluginmanager.register(RealServers(environ), "real-servers")


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> RunningStack:
    """The real servers that the collected tests need."""
    return _servers(request).stack.get()


@pytest.fixture(scope="session")
def mysql_stack(request: pytest.FixtureRequest) -> RunningStack:
    """MySQL 8, beside the MariaDB of the others."""
    return _servers(request).mysql.get()


def _servers(request: pytest.FixtureRequest) -> RealServers:
    servers = request.config.pluginmanager.get_plugin("real-servers")
    assert isinstance(servers, RealServers)
    return servers
