"""Load over HTTP, and what is measured by it, against a server that answers a constant."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orderctl.bench.load import Load, request_bytes, run_load
from orderctl.bench.measuring import Measure, apart, cpu_s_of, latency_of, measured, memory_mib_of
from orderctl.bench.serving import constant, measure_http, paced
from orderctl.errors import OrderctlError, TierUnavailable

REQUESTS = [request_bytes("GET", "/", "key"), request_bytes("POST", "/", "key", b"{}" * 10_000)]


def test_every_request_is_answered_once() -> None:
    """All that are asked for, over connections that stay, with bodies larger than a packet both ways."""
    with constant(b"x" * 100_000, status=201) as target:
        loaded = run_load(Load(url=target.url, requests=REQUESTS, total=50, connections=4))
        assert loaded.statuses == {201: 50}
        assert loaded.seconds > 0
        measure = measure_http(
            target, Load(url=target.url, requests=REQUESTS, total=20, connections=2), units=3, expected=201
        )
    assert measure.units == 60
    assert measure.memory_mib > 5


def test_another_answer_is_no_measurement() -> None:
    """A server that refuses is quick, and nothing is to be learnt from it."""
    with constant(b"x", status=503) as target, pytest.raises(OrderctlError, match="503"):
        measure_http(target, Load(url=target.url, requests=REQUESTS, total=2, connections=1))


def test_latencies_are_of_a_load_half_as_fast() -> None:
    """A closed loop has none to tell of: it waits for a server that stalls."""
    with constant(b"x") as target:
        load = Load(url=target.url, requests=REQUESTS, total=10, connections=2)
        closed = measure_http(target, load, units=7)
        found = paced(closed, load, units=7)
        assert closed.latency_ms is None
        assert found.latency_ms is not None
        assert found.facts["paced_per_s"] == pytest.approx(10 / closed.seconds / 2, abs=0.1)
        assert (found.units, found.seconds) == (70, closed.seconds)
        with pytest.raises(OrderctlError, match="200"):
            paced(closed, load, expected=201)


@contextmanager
def slow_first_answer(stall_s: float) -> Iterator[str]:
    """A server of one connection that lets the first request wait, and answers all others at once."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                pause = stall_s
                while connection.recv(65_536):
                    threading.Event().wait(pause)
                    pause = 0.0
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(10)


def test_open_loop_counts_from_the_intended_start() -> None:
    """One answer that stalls for half a second delays those behind it, and their latencies say so, unlike in a closed loop."""
    load = Load(url="", requests=REQUESTS[:1], total=10, connections=1)
    with slow_first_answer(0.5) as url:
        closed = run_load(Load(url=url, requests=load.requests, total=10, connections=1)).latency_ms
    with slow_first_answer(0.5) as url:
        opened = run_load(Load(url=url, requests=load.requests, total=10, connections=1, rate_per_s=100)).latency_ms
    assert closed is not None
    assert opened is not None
    assert opened.p50 > 300 > closed.p50


def test_a_server_that_hangs_up_is_an_error() -> None:
    """Not a fast run."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(TierUnavailable):
            run_load(Load(url=url, requests=REQUESTS, total=1, connections=1))
        thread.join(10)


def test_quantiles() -> None:
    """Of a hundred milliseconds each once."""
    found = latency_of([float(ms) for ms in range(100, 0, -1)])
    assert found is not None
    assert (found.p50, found.p90, found.p99, found.most) == (51, 91, 100, 100)
    assert latency_of([]) is None


def spin() -> int:
    return sum(range(2_000_000)) and 7


def test_a_process_of_its_own_is_measured_by_itself() -> None:
    """Its CPU time, which the kernel's count for this process agrees with having risen, and its memory."""
    before = cpu_s_of(os.getpid())
    measure = measured(spin)
    assert measure.units == 7
    assert 0 < measure.cpu_s <= cpu_s_of(os.getpid()) - before + 0.05
    assert memory_mib_of(os.getpid()) > 10
    assert apart(os.getpid) != os.getpid()


def measured_spin() -> Measure:
    return measured(spin)


def test_the_memory_of_whoever_started_it_is_not_its_own() -> None:
    """A scenario's process prepares hundreds of thousands of orders, and then starts the one that is measured."""
    ballast = bytearray(400 << 20)
    assert apart(measured_spin).memory_mib < 300
    assert len(ballast) >> 20 == 400
