"""Driving: pieces of work and workers → every piece answered once, whatever workers die of."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import cast

from pipeline.errors import FlowError
from pipeline.fleet.workers import Answer, Detected, Failed, Indexed, Task, Worker

logger = logging.getLogger(__name__)

MOST_DEATHS = 3  # of workers by one piece of work, and in a row before any has begun

OnAnswer = Callable[[Task, Answer], Iterable[Task]]
"""Takes an answer and returns what is to be done beside it."""


@dataclass(slots=True)
class Driver:
    """Keeps every worker busy with the next piece of work, in the order given.

    deaths: what futures raise where a worker died. A piece of work whose worker died is done again, first of all, by
    whichever worker is free; one that killed `MOST_DEATHS` is given up, which is its answer.
    """

    workers: Sequence[Worker[Task, Answer]]
    deaths: tuple[type[BaseException], ...]
    on_answer: OnAnswer
    _pending: deque[Task] = field(default_factory=deque)
    _futures: dict[Future[object], tuple[Worker[Task, Answer], Task | None]] = field(default_factory=dict)
    _idle: list[Worker[Task, Answer]] = field(default_factory=list)
    _killed: Counter[Task] = field(default_factory=Counter)
    _num_stillborn: int = 0  # workers, in a row

    def run(self, tasks: Iterable[Task]) -> None:
        """Return when every piece has its answer. May be called again.

        Raises what `on_answer` raises, the error of a worker that cannot begin, and FlowError where workers die as
        soon as they begin.
        """
        self._pending.extend(tasks)
        self._assign()
        while self._pending or any(task is not None for _, task in self._futures.values()):
            done, _ = wait(self._futures, return_when=FIRST_COMPLETED)
            for future in done:
                self._take(future, *self._futures.pop(future))
            self._assign()

    def drop(self, is_superfluous: Callable[[Task], bool]) -> None:
        """Forget the pieces that have not begun and are not to be done any longer."""
        self._pending = deque(task for task in self._pending if not is_superfluous(task))

    def _assign(self) -> None:
        """Hand out work, and start as many workers as there is work left for."""
        while self._pending and self._idle:
            task, worker = self._pending.popleft(), self._idle.pop()
            self._futures[cast("Future[object]", worker.submit(task))] = (worker, task)
        num_coming = sum(task is None for _, task in self._futures.values())
        busy = {id(worker) for worker, _ in self._futures.values()}
        unused = [worker for worker in self.workers if id(worker) not in busy and worker not in self._idle]
        for worker in unused[: max(0, len(self._pending) - num_coming)]:
            self._futures[cast("Future[object]", worker.start())] = (worker, None)

    def _take(self, future: Future[object], worker: Worker[Task, Answer], task: Task | None) -> None:
        try:
            answer = future.result()
        except self.deaths as error:
            self._bury(task, error)
            return
        if isinstance(answer, str):
            raise FlowError(answer)
        self._num_stillborn = 0
        self._idle.append(worker)
        if task is not None and isinstance(answer, Indexed | Detected | Failed):
            self._answer(task, answer)

    def _answer(self, task: Task, answer: Answer) -> None:
        more = list(self.on_answer(task, answer))  # first: it may call `drop`
        self._pending.extendleft(reversed(more))

    def _bury(self, task: Task | None, error: BaseException) -> None:
        """Let what a dead worker was doing be done again, or give it up."""
        logger.info("a worker died (%s): %s", type(error).__name__, task)
        if task is None:
            self._num_stillborn += 1
            if self._num_stillborn >= MOST_DEATHS:
                raise FlowError(
                    f"{MOST_DEATHS} workers in a row died before they could take work; is there enough memory for "
                    "--workers models? try --workers 1"
                ) from error
        else:
            self._killed[task] += 1
            if self._killed[task] < MOST_DEATHS:
                self._pending.appendleft(task)
            else:
                reason = f"killed {MOST_DEATHS} workers, one by one: a crash of its decoder, or too little memory"
                self._answer(task, Failed(reason))
