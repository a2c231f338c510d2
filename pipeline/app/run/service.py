"""Service: a run that nobody watches → what its keepers hear: events in the log, `/metrics`, `/healthz`, systemd."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping

from pipeline.app.config.run import RunConfig
from pipeline.app.extras import load
from pipeline.app.run.endpoint import Address, Endpoint, Page
from pipeline.app.run.health import Health, allowed_silence_seconds
from pipeline.app.run.panel import summary_line
from pipeline.app.run.report import RunReport
from pipeline.app.run.supervisor import Supervisor
from pipeline.app.run.systemd import Systemd
from pipeline.errors import MissingExtraError
from pipeline.events import event
from pipeline.flow.running import Running
from pipeline.picture.counting.counts import Counts
from pipeline.picture.detections import Result
from pipeline.version import __version__

logger = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"


class Service:
    """What the keepers of a run hear of it, from before its sources are opened until it has ended.

    metrics: [HOST:]PORT of `/metrics` and `/healthz`; None: there are none.
    Raises ConfigError where nobody can listen there, MissingExtraError without prometheus-client.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        metrics: str | None = None,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._health = Health(silence_seconds=allowed_silence_seconds(config), clock=clock)
        self._systemd = Systemd(environment, clock=clock)
        self._running: Running[Result] | None = None
        self._supervisor: Supervisor | None = None
        self._counting: Callable[[], Mapping[str, Counts]] = dict
        self.endpoint = None if metrics is None else self._listening(metrics)

    def began(
        self,
        supervisor: Supervisor,
        running: Running[Result],
        counting: Callable[[], Mapping[str, Counts]] = dict,
    ) -> None:
        """Sources and models are open, and the run begins. counting: what lines and zones counted, by source."""
        self._supervisor, self._running, self._counting = supervisor, running, counting
        branches, sources = supervisor.assembly.branches, list(supervisor.assembly.sources)
        logger.info(
            "runs %s on %s",
            " and ".join(branch.engine.describe() for branch in branches),
            ", ".join(sources),
            extra=event(
                "run_started",
                version=__version__,
                sources=sources,
                model=", ".join(branch.name for branch in branches),
                device=", ".join(dict.fromkeys(branch.engine.device for branch in branches)),
                precision=", ".join(dict.fromkeys(branch.engine.precision for branch in branches)),
            ),
        )

    def observe(self, *, is_stopping: bool = False) -> None:
        """Look at the run; to be called at least every second. is_stopping: it was asked to end."""
        if self._running is None or self._supervisor is None:
            return
        statistics = self._running.statistics()
        states = {name: capture.states.state for name, capture in self._supervisor.captures.items()}
        self._health.observe(statistics, states=states)
        self._systemd.observe(self._health.verdict(), " ".join(summary_line(statistics).split()))
        if is_stopping:
            self._systemd.stopping()

    def ended(self, report: RunReport, *, error: BaseException | None = None) -> None:
        """The run has ended, by itself, by a signal or by an error, and this is what came of it."""
        self._systemd.stopping()
        logger.info(
            "ended after %.1f s: %s",
            report["seconds"],
            report["advice"],
            extra=event(
                "run_ended",
                seconds=report["seconds"],
                frames=report["frames"],
                fps=report["fps"],
                latency_ms=report["latency_ms"],
                limited_by=report["limited_by"],
                advice=report["advice"],
                error=None if error is None else str(error) or type(error).__name__,
            ),
        )

    def close(self) -> None:
        """Stop listening. May be called more than once."""
        endpoint, self.endpoint = self.endpoint, None
        if endpoint is not None:
            endpoint.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._systemd.stopping()
        self.close()

    def pages(self) -> dict[str, Callable[[], Page]]:
        """What monitors read, by path: `/metrics`, where its extra is installed, and `/healthz`."""
        try:
            return {"/metrics": self._metrics_page(), "/healthz": self._healthz}
        except MissingExtraError as error:
            reason = f"{error}\n".encode()
            return {"/metrics": lambda: Page(501, _TEXT, reason), "/healthz": self._healthz}

    def _metrics_page(self) -> Callable[[], Page]:
        """Raises MissingExtraError without prometheus-client."""
        load("pipeline.app.run.metrics", extra="metrics")
        from pipeline.app.run.exposition import CONTENT_TYPE
        from pipeline.app.run.metrics import AGE_BOUNDS_SECONDS, ModelInfo, RunMetrics, RunSnapshot

        def snapshot() -> RunSnapshot | None:
            running, supervisor = self._running, self._supervisor
            if running is None or supervisor is None:
                return None
            return RunSnapshot(
                running.statistics(),
                running.latency_counts(AGE_BOUNDS_SECONDS),
                self._health.states(),
                [
                    ModelInfo(branch.name, branch.engine.device, branch.engine.precision)
                    for branch in supervisor.assembly.branches
                ],
                self._counting(),
                supervisor.assembly.gates(),
            )

        metrics = RunMetrics(snapshot)
        return lambda: Page(200, CONTENT_TYPE, metrics.text())

    def _listening(self, word: str) -> Endpoint:
        address = Address.parse(word, "--metrics")
        pages = {"/metrics": self._metrics_page(), "/healthz": self._healthz}
        endpoint = Endpoint(address, pages, option="--metrics")
        logger.info(
            "metrics on http://%s/metrics",
            endpoint.address,
            extra=event("metrics_listening", host=endpoint.address.host, port=endpoint.address.port),
        )
        return endpoint

    def _healthz(self) -> Page:
        verdict = self._health.verdict()
        return Page(200 if verdict.is_well else 503, _TEXT, f"{verdict.reason}\n".encode("utf-8", "backslashreplace"))
