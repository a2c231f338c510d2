"""Supervising: a camera fleet and workers → exchanges of orders and reports, workers begun anew, results kept.

Nothing waits: `step` looks at what has come, and sends what is due.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import cast

from pipeline.errors import FlowError, SinkError, first_line
from pipeline.events import event
from pipeline.fleet.camera_fleet import CameraFleet
from pipeline.fleet.camera_messages import Orders, Report, ResultLine
from pipeline.fleet.workers import Worker

logger = logging.getLogger(__name__)

EXCHANGE_SECONDS = 0.5
_GATHER_SECONDS = 10.0
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.5, 30.0  # before a worker that died is begun anew
_LONG_LIFE_SECONDS = 60.0  # after which its delays are forgotten


@dataclass(slots=True)
class _Slot:
    """A worker, and what it was asked last. name: of its last start; "": it is to be started."""

    label: str
    worker: Worker[Orders, Report]
    name: str = ""
    num_starts: int = 0
    future: Future[object] | None = None
    is_starting: bool = False
    due_at_seconds: float = 0.0
    began_at_seconds: float = 0.0
    delay_seconds: float = _FIRST_DELAY_SECONDS


@dataclass(slots=True)
class FleetSupervisor:
    """Keeps workers going, and hands on what they report.

    deaths: what a future raises whose worker died. is_death_certain: whether nothing runs there any longer then.
    keep: makes results durable; raises SinkError where it cannot, and then they come again.
    save_generations: called with them before a worker hears of a new one. cores: of each worker.
    """

    fleet: CameraFleet
    deaths: tuple[type[BaseException], ...]
    keep: Callable[[Sequence[ResultLine]], None]
    save_generations: Callable[[Mapping[str, int]], None]
    is_death_certain: bool = True
    cores: float = 1.0
    clock: Callable[[], float] = time.monotonic
    trouble: str = ""  # why results cannot be kept now
    _slots: list[_Slot] = field(default_factory=list)
    _saved: dict[str, int] = field(default_factory=dict)
    _gathers_until_seconds: float | None = None

    def add(self, workers: Sequence[Worker[Orders, Report]]) -> None:
        """Use these workers as well."""
        self._slots += [_Slot(f"worker-{len(self._slots) + number}", one) for number, one in enumerate(workers)]

    def step(self) -> None:
        """Take what has come, decide, and send what is due. Raises FlowError where a worker can never begin."""
        done = [slot for slot in self._slots if slot.future is not None and slot.future.done()]
        reports = [(slot.name, report) for slot in done if (report := self._take(slot)) is not None]
        self._take_reports(reports)
        if not self._is_gathering():
            self.fleet.decide(self.clock())
        news = self.fleet.with_news(self.clock())
        for slot in self._slots:
            if slot.name and not slot.is_starting and slot.name not in self.fleet.workers:
                self._note_loss(slot, "silent for too long", is_certain=False)
            if slot.future is None and (slot.name in news or self.clock() >= slot.due_at_seconds):
                self._send(slot)

    def wait(self, seconds: float) -> None:
        """Return when something has come, or after some seconds."""
        futures = [slot.future for slot in self._slots if slot.future is not None]
        if futures:
            wait(futures, timeout=seconds, return_when="FIRST_COMPLETED")
        else:
            time.sleep(seconds)

    def labels(self) -> Iterator[tuple[str, str]]:
        """Each worker, and the name of its last start; "": it has not begun."""
        return ((slot.label, "" if slot.is_starting else slot.name) for slot in self._slots)

    def _is_gathering(self) -> bool:
        """Whether workers begin for the first time, without which the others would get all cameras."""
        if self._gathers_until_seconds is None:
            self._gathers_until_seconds = self.clock() + _GATHER_SECONDS
        is_early = self.clock() < self._gathers_until_seconds
        return is_early and any(slot.num_starts + (not slot.is_starting) <= 1 for slot in self._slots)

    def _send(self, slot: _Slot) -> None:
        now = self.clock()
        if not slot.name:
            slot.num_starts += 1
            slot.name, slot.is_starting, slot.began_at_seconds = f"{slot.label}.{slot.num_starts}", True, now
            slot.future = cast("Future[object]", slot.worker.start())
            return
        orders = self.fleet.orders(slot.name, now)
        try:
            self._save()
        except SinkError as error:
            self._note_trouble(str(error))
            slot.due_at_seconds = now + EXCHANGE_SECONDS
            return
        slot.future = cast("Future[object]", slot.worker.submit(orders))

    def _save(self) -> None:
        generations = self.fleet.leases.generations
        if generations != self._saved:
            self.save_generations(generations)
            self._saved = generations

    def _take(self, slot: _Slot) -> Report | None:
        """What a worker reports, where it was asked to, and lives."""
        future, slot.future = slot.future, None
        assert future is not None
        try:
            answer = future.result()
        except self.deaths as error:
            self._note_loss(slot, type(error).__name__)
            return None
        except Exception as error:  # a mistake of ours, or of a library, which the other workers are not to pay for
            logger.exception("%s: could not answer", slot.name)
            self._note_loss(slot, f"{type(error).__name__}: {first_line(error)}", is_certain=False)
            return None
        if isinstance(answer, str):
            raise FlowError(answer)
        if slot.is_starting:
            slot.is_starting = False
            self.fleet.join(slot.name, cores=self.cores, now_seconds=self.clock())
            logger.info("%s has begun", slot.name, extra=event("worker_began", worker=slot.name))
        elif isinstance(answer, Report) and slot.name in self.fleet.workers:
            slot.due_at_seconds = self.clock() + EXCHANGE_SECONDS
            return answer
        return None

    def _take_reports(self, reports: Sequence[tuple[str, Report]]) -> None:
        """Keep the lines of all that came together, so that the disk is waited for once."""
        new = {worker: self.fleet.report(worker, report, self.clock()) for worker, report in reports}
        try:
            self.keep([line for lines in new.values() for line in lines])
        except SinkError as error:
            self._note_trouble(str(error))
            return
        for worker, lines in new.items():
            self.fleet.keep(worker, lines)
        if self.trouble and reports:
            logger.warning("results are kept again", extra=event("results_kept_again"))
            self.trouble = ""

    def _note_loss(self, slot: _Slot, reason: str, *, is_certain: bool = True) -> None:
        """Give a worker up; another takes its slot, later each time where they die soon."""
        now, is_certain = self.clock(), self.is_death_certain and is_certain
        fields = {"worker": slot.name, "reason": reason}
        logger.warning("%s is lost: %s; its cameras move", slot.name, reason, extra=event("worker_lost", **fields))
        self.fleet.lose(slot.name, now, is_certain=is_certain)
        if now - slot.began_at_seconds > _LONG_LIFE_SECONDS:
            slot.delay_seconds = _FIRST_DELAY_SECONDS
        slot.name, slot.future, slot.is_starting = "", None, False
        slot.due_at_seconds = now + slot.delay_seconds
        slot.delay_seconds = min(2 * slot.delay_seconds, _LONGEST_DELAY_SECONDS)

    def _note_trouble(self, reason: str) -> None:
        if self.trouble != reason:
            self.trouble = reason
            logger.warning(
                "%s; workers hold them until they can be", reason, extra=event("results_wait", reason=reason)
            )
