"""Metrics of our own making."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from orderctl.metrics import BatchHistogram

BUCKETS = (0.5, 1.0, 2.0)
AMOUNTS = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 2.0, 2.25, 64.0]))


@given(st.lists(AMOUNTS))
def test_a_batch_counts_as_much_as_each_by_itself(batches: list[list[float]]) -> None:
    """In every bucket, also where an amount is a bucket's bound."""
    one, many = CollectorRegistry(), CollectorRegistry()
    single = Histogram("h", "h", registry=one, buckets=BUCKETS)
    batched = BatchHistogram("h", "h", registry=many, buckets=BUCKETS)
    for batch in batches:
        batched.observe_all(batch)
        for amount in batch:
            single.observe(amount)
    for sample in ("h_count", "h_sum"):
        assert many.get_sample_value(sample) == one.get_sample_value(sample)
    for bound in ("0.5", "1.0", "2.0", "+Inf"):
        assert many.get_sample_value("h_bucket", {"le": bound}) == one.get_sample_value("h_bucket", {"le": bound})
