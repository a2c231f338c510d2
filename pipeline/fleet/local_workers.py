"""Local workers: a number → as many processes of this machine, each an executor of its own.

With one executor for all, the death of a process would break it with everything in it, and nobody could tell which
piece of work the process died of.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import connection
from types import TracebackType
from typing import Any, Generic

from pipeline.errors import StreamdetError
from pipeline.fleet.workers import OpenWork, Outcome, Piece


class LocalWorkers(Generic[Piece, Outcome]):
    """As many processes, started when their first work comes."""

    deaths: tuple[type[BaseException], ...] = (BrokenProcessPool,)

    def __init__(self, open_work: OpenWork[Piece, Outcome], num: int) -> None:
        self._workers = [_LocalWorker(open_work) for _ in range(num)]

    def __enter__(self) -> Sequence[_LocalWorker[Piece, Outcome]]:
        return self._workers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()


class _LocalWorker(Generic[Piece, Outcome]):
    def __init__(self, open_work: OpenWork[Piece, Outcome]) -> None:
        self._open_work = open_work
        self._executor: ProcessPoolExecutor | None = None
        self.pid: int | None = None

    def start(self) -> Future[str | None]:
        self.close()
        before = {child.pid for child in multiprocessing.active_children()}
        self._executor = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        future = self._executor.submit(_begin, self._open_work)
        new = {child.pid for child in multiprocessing.active_children()} - before
        self.pid = new.pop() if new else None
        return future

    def submit(self, piece: Piece) -> Future[Outcome]:
        assert self._executor is not None, "start comes first"
        try:
            return self._executor.submit(_do, piece)
        except BrokenProcessPool as error:  # it died while it had nothing to do
            future: Future[Outcome] = Future()
            future.set_exception(error)
            return future

    def close(self) -> None:
        """End its process at once."""
        for child in multiprocessing.active_children():
            if child.pid is not None and child.pid == self.pid:
                child.kill()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = None


_work: Callable[[Any], Any] | None = None  # of this process, which is a worker


def _begin(open_work: Callable[[], Callable[[Any], Any]]) -> str | None:
    """Make this process a worker: it ends with its driver, in whatever way that ends, and not by the user's Ctrl-C.

    Returns why it cannot be one.
    """
    global _work
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, name="lifeline", daemon=True).start()
    try:
        _work = open_work()
    except StreamdetError as error:
        return str(error)
    return None


def _do(piece: Any) -> Any:
    assert _work is not None, "_begin comes first"
    return _work(piece)


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        connection.wait([driver.sentinel])
        os._exit(1)
