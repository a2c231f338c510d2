"""Exposition: a collector whose metrics are made anew at each look → Prometheus' text, by prometheus-client."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ExposedMetrics(Collector):  # type: ignore[misc, unused-ignore]  # the extra may be missing
    """Metrics in a registry of their own, behind those of others."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)

    def text(self) -> bytes:
        """All of them in the exposition format; may be called from any thread."""
        text: bytes = generate_latest(self._registry)
        return text

    def describe(self) -> Iterator[Metric]:
        """Nothing: names and labels are not known before."""
        return iter(())
