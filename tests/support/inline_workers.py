"""Inline workers: workers of a map in this process, at once, which may be told to die or to be killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType

from pipeline.fleet.workers import Answer, OpenWork, Task, Work


class DeathError(Exception):
    """What a future raises whose worker died."""


class InlineWorkers:
    """Does every piece of work when it is handed out.

    deaths_of: by the name of a segment, how many workers it kills. before: called with every piece of work.
    """

    deaths: tuple[type[BaseException], ...] = (DeathError,)

    def __init__(
        self,
        open_work: OpenWork[Task, Answer],
        num: int = 2,
        *,
        deaths_of: Mapping[str, int] | None = None,
        before: Callable[[Task], None] = lambda _: None,
    ) -> None:
        self.done: list[str] = []  # names of segments, as they were handed out
        self.left = Counter(deaths_of or {})
        self.before = before
        self._workers = [_InlineWorker(open_work, self) for _ in range(num)]

    def __enter__(self) -> Sequence[_InlineWorker]:
        return self._workers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class _InlineWorker:
    def __init__(self, open_work: OpenWork[Task, Answer], owner: InlineWorkers) -> None:
        self._open_work, self._owner = open_work, owner
        self._work: Work | None = None

    def start(self) -> Future[str | None]:
        self._work = self._work or self._open_work()
        future: Future[str | None] = Future()
        future.set_result(None)
        return future

    def submit(self, piece: Task) -> Future[Answer]:
        future: Future[Answer] = Future()
        name = getattr(piece, "name", "")
        self._owner.before(piece)
        if self._owner.left[name] > 0:
            self._owner.left[name] -= 1
            future.set_exception(DeathError())
        else:
            assert self._work is not None
            self._owner.done += [name] if name else []
            future.set_result(self._work(piece))
        return future
