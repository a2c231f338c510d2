"""Ray workers: an address → as many actors of a Ray cluster, each with a network of its own.

Actors, and the driver that counts what kills them, not Ray Data: that would do a segment that crashes its decoder again
for ever, or give the whole job up for it. Only segments and compressed rows travel through Ray's store, no picture.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic

from pipeline.errors import ConfigError, FlowError, MissingExtraError, StreamdetError, first_line
from pipeline.fleet.workers import OpenWork, Outcome, Piece
from pipeline.telemetry import opt_out

_NAMESPACE = "streamdet"  # of actors with names
_CLIENT_PORT = 10001  # of ray://HOST, where none is given


def ray_address(word: str) -> str | None:
    """What Ray is told for ray or ray://HOST[:PORT]; None: the cluster that it finds. Raises ConfigError for others."""
    scheme, separator, host = word.partition("://")
    if scheme != "ray" or (separator and not host):
        raise ConfigError(f"--engine must be local, ray or ray://HOST, got {word!r}")
    if not separator:
        return None
    return f"ray://{host}" if ":" in host else f"ray://{host}:{_CLIENT_PORT}"


class RayWorkers(Generic[Piece, Outcome]):
    """As many actors as `num`, by default one for each processor of the cluster; each has one processor.

    address: as `ray_address` gives it; None: a cluster that Ray finds on this machine, or one of this machine alone.
    name: lets the actors outlive whoever started them, by names that begin with it: Ray begins them anew where they
    die, and another start of the same command finds them again; they end where this is left without an error.
    A connection that is there already is used, and left open. Raises MissingExtraError without ray, and FlowError for a
    cluster that does not answer.
    """

    def __init__(
        self, open_work: OpenWork[Piece, Outcome], num: int | None, address: str | None, *, name: str = ""
    ) -> None:
        opt_out()
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError('--engine ray needs ray: pip install "streamdet[ray]"') from error
        self._ray: Any = ray
        errors = ray.exceptions
        self.deaths: tuple[type[BaseException], ...] = (
            errors.RayActorError,
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.ObjectLostError,
            errors.OutOfMemoryError,
        )
        self._open_work, self._num, self._address, self._name = open_work, num, address, name
        self._workers: list[_RayWorker[Piece, Outcome]] = []
        self._is_ours = False

    def __enter__(self) -> Sequence[_RayWorker[Piece, Outcome]]:
        ray = self._ray
        if not ray.is_initialized():
            try:
                ray.init(address=self._address, log_to_driver=False, logging_level="ERROR")
            except Exception as error:  # of grpc, of Ray, of the system
                where = self._address or "this machine"
                raise FlowError(f"Ray cannot be reached at {where}: {first_line(error)}") from error
            self._is_ours = True
        self.more()
        return self._workers

    def more(self) -> Sequence[_RayWorker[Piece, Outcome]]:
        """Further workers, where no number was set and the cluster has more processors than before."""
        num = self._num or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        new = [self._worker(number) for number in range(len(self._workers), num)]
        self._workers += new
        return new

    def _worker(self, number: int) -> _RayWorker[Piece, Outcome]:
        actor = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Actor)
        if self._name:
            actor = actor.options(
                name=f"{self._name}-{number}",
                namespace=_NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=-1,
            )
        return _RayWorker(self._ray, actor, self._open_work, is_named=bool(self._name))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or not self._name:
            for worker in self._workers:
                worker.close()
        if self._is_ours:
            self._ray.shutdown()


class _Actor:
    """What runs in the cluster."""

    def __init__(self) -> None:
        self._open_work: Callable[[], Callable[[Any], Any]] | None = None
        self._work: Callable[[Any], Any] | None = None

    def begin(self, open_work: Callable[[], Callable[[Any], Any]]) -> str | None:
        """Load the network here; returns why it cannot be. One that is found again with the same work goes on with it.

        With other work, as of a later start with other settings, the process ends, and Ray begins it anew.
        """
        if self._open_work is not None and self._open_work != open_work:
            os._exit(1)
        if self._open_work is not None:
            return None
        try:
            self._work = open_work()
            self._open_work = open_work
        except StreamdetError as error:
            return str(error)
        return None

    def answer(self, piece: Any) -> Any:
        assert self._work is not None, "begin comes first"
        return self._work(piece)


class _RayWorker(Generic[Piece, Outcome]):
    def __init__(self, ray: Any, actor: Any, open_work: OpenWork[Piece, Outcome], *, is_named: bool) -> None:
        self._ray, self._actor, self._open_work, self._is_named = ray, actor, open_work, is_named
        self._handle: Any = None

    def start(self) -> Future[str | None]:
        if not self._is_named:
            self.close()
        self._handle = self._actor.remote()
        future: Future[str | None] = self._handle.begin.remote(self._open_work).future()
        return future

    def submit(self, piece: Piece) -> Future[Outcome]:
        future: Future[Outcome] = self._handle.answer.remote(piece).future()
        return future

    def close(self) -> None:
        if self._handle is not None:
            self._ray.kill(self._handle)
        self._handle = None
