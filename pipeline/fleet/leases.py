"""Leases: workers and the cameras that they ask for → who may run which camera, until when; nobody else may meanwhile.

A worker runs a camera until `seconds` after its own last report, by its own clock. The book counts from the moment at
which it answers that report, which is later, so that it never takes a lease for over that is not, however long messages
are on their way (C. Gray and D. Cheriton, Leases, SOSP 1989). Every grant has a higher generation than those before:
what comes of an older one is refused, though its worker, stopped for minutes, does not know of its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.fleet.camera_messages import Granted, Orders

LEASE_SECONDS = 3.0
"""Unless a fleet says otherwise: with two exchanges a second, cameras of a lost worker run elsewhere within 5 s."""

_DRIFT = 0.05  # by which the clocks of two machines may differ in rate


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of a worker to run a camera."""

    worker: str
    generation: int
    expires_at_seconds: float  # on the clock of the book


class LeaseBook:
    """Who has which camera. Times are of one monotonic clock, and never go back.

    seconds: how long a worker may run a camera without news. generations: the last one of each camera that was ever
    granted, by this book or one before it.
    """

    def __init__(self, seconds: float, generations: Mapping[str, int]) -> None:
        self.seconds = seconds
        self._generations = dict(generations)
        self._leases: dict[str, Lease] = {}

    @property
    def longest_seconds(self) -> float:
        """After which a lease that was not renewed is over, for the book and on its worker."""
        return self.seconds * (1 + _DRIFT)

    @property
    def generations(self) -> dict[str, int]:
        """The last one of each camera; to be kept before anybody hears of a grant."""
        return dict(self._generations)

    def lease_of(self, camera: str) -> Lease | None:
        """Of the worker that has it, or may still have it."""
        return self._leases.get(camera)

    def of_worker(self, worker: str) -> dict[str, Lease]:
        """Its leases by camera."""
        return {camera: lease for camera, lease in self._leases.items() if lease.worker == worker}

    def is_free(self, camera: str, now_seconds: float) -> bool:
        """Whether certainly nobody runs it."""
        lease = self._leases.get(camera)
        return lease is None or now_seconds > lease.expires_at_seconds

    def grant(self, camera: str, worker: str, now_seconds: float) -> Lease:
        """Let a worker run a camera that is free, as its next generation. now_seconds: when it will be sent to it."""
        assert self.is_free(camera, now_seconds), f"{camera} is leased to {self._leases[camera].worker}"
        self._generations[camera] = self._generations.get(camera, 0) + 1
        return self._keep(camera, worker, now_seconds)

    def renew(self, camera: str, now_seconds: float) -> Lease:
        """Let the worker that has it go on."""
        return self._keep(camera, self._leases[camera].worker, now_seconds)

    def note_held(self, worker: str, held: Mapping[str, int]) -> None:
        """A worker has reported which cameras it has, by generation: others that it had are free.

        The report must answer the last message with its leases, so that none of them is on its way to it.
        """
        for camera, lease in self.of_worker(worker).items():
            if held.get(camera) != lease.generation:
                del self._leases[camera]

    def forget(self, worker: str) -> None:
        """A worker has certainly ended: its cameras are free."""
        self.note_held(worker, {})

    def accepts(self, camera: str, generation: int) -> bool:
        """Whether a result is of the latest generation, and not that of one who was replaced."""
        return generation == self._generations.get(camera)

    def _keep(self, camera: str, worker: str, now_seconds: float) -> Lease:
        lease = Lease(worker, self._generations[camera], now_seconds + self.longest_seconds)
        self._leases[camera] = lease
        return lease


class HeldLeases:
    """The side of a worker: which cameras it may run now. Times are of its own clock."""

    def __init__(self) -> None:
        self._granted: dict[str, Granted] = {}
        self._expires_at_seconds = float("-inf")
        self._reported_at_seconds: float | None = None

    def take(self, orders: Orders) -> None:
        """Have the cameras of these orders, and no others; they count from the last report, which these answer."""
        if self._reported_at_seconds is not None:
            self._granted = {granted.camera.name: granted for granted in orders.granted}
            self._expires_at_seconds = self._reported_at_seconds + orders.lease_seconds

    def note_report(self, now_seconds: float) -> None:
        """A report leaves now."""
        self._reported_at_seconds = now_seconds

    def valid(self, now_seconds: float) -> dict[str, Granted]:
        """The cameras that it may run, by name."""
        return dict(self._granted) if now_seconds < self._expires_at_seconds else {}

    def is_valid(self, camera: str, generation: int, now_seconds: float) -> bool:
        """Whether it may run a camera as this generation."""
        granted = self._granted.get(camera)
        is_in_time = now_seconds < self._expires_at_seconds
        return is_in_time and granted is not None and granted.generation == generation
