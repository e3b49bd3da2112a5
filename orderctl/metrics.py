"""Every metric that monitoring relies on: its name, its unit and what it means, each said once."""

from __future__ import annotations

import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

import orderctl

_REQUEST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The metrics of one process, in a registry of their own. Prefix `orderctl_`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(name, meaning, labels, namespace="orderctl", registry=registry)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, meaning, labels, namespace="orderctl", registry=registry, buckets=buckets)

        self.lookups = counter(
            "lookups_total", "Orders looked up, by the tier that answered and how.", "tier", "outcome"
        )
        self.creates = counter("creates_total", "Creations asked for, by outcome.", "outcome")
        self.changes = counter("changes_total", "Changes asked for, by outcome.", "outcome")
        self.loads = counter("loads_total", "Orders that readers loaded from a database, by tier.", "tier")
        self.tier_errors = counter(
            "tier_errors_total", "Calls that a tier failed, by what is known of them.", "tier", "kind"
        )
        self.daemon_faults = counter(
            "daemon_faults_total",
            "Steps of a daemon that ended in an unforeseen error. Always a fault.",
            "daemon",
            "kind",
        )
        self.http_requests = counter(
            "http_requests_total", "Requests answered, by route and status.", "route", "status"
        )
        self.transactions = counter("transactions_total", "Writing transactions committed, by tier.", "tier")
        self.equal_version_conflicts = counter(
            "equal_version_conflicts_total",
            "Cached records that had the right version and other bytes. Always a fault.",
        )
        self.request_seconds = histogram(
            "request_seconds", "Seconds from a request's first byte to its answer's last.", _REQUEST_BUCKETS_S, "route"
        )
        self.batch_orders = histogram(
            "batch_orders", "Orders that one batch carried to the stores.", _BATCH_BUCKETS, "batch"
        )
        self.build_info = Gauge(
            "build_info",
            "Always 1; the labels name the build.",
            ("version", "python"),
            namespace="orderctl",
            registry=registry,
            multiprocess_mode="max",
        )
        self.build_info.labels(orderctl.__version__, platform.python_version()).set(1)
