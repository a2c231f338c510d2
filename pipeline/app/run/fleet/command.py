"""Command `fleet`: a file of cameras → runs of them on workers, their results in a folder, until a signal comes."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.app.extras import load
from pipeline.app.logs import log_as_json
from pipeline.app.machine import available_cores
from pipeline.app.model_branch import model_of
from pipeline.app.run.endpoint import Address, Endpoint, Page
from pipeline.app.run.fleet.cameras_file import CamerasFile
from pipeline.app.run.fleet.host import OpenHost
from pipeline.app.run.fleet.options import FleetOptions
from pipeline.app.run.fleet.page import FleetView, html_page, json_page
from pipeline.app.run.fleet.watching import FleetWatch
from pipeline.app.signals import Signals
from pipeline.errors import ConfigError, SinkError, reason_of
from pipeline.events import event
from pipeline.fleet.camera_fleet import CameraFleet
from pipeline.fleet.camera_messages import Orders, Report, ResultLine
from pipeline.fleet.leases import LeaseBook
from pipeline.fleet.local_workers import LocalWorkers
from pipeline.fleet.ray_workers import RayWorkers, ray_address
from pipeline.fleet.result_log import ResultLog
from pipeline.fleet.supervising import FleetSupervisor
from pipeline.fleet.workers import Worker, Workers
from pipeline.sinks.events.delivery import Carrier, Delivery
from pipeline.sinks.events.mqtt import MqttTopic
from pipeline.sinks.events.nats_subject import NatsSubject
from pipeline.sinks.events.outbox import Message, Outbox
from pipeline.sinks.output_lock import OutputLock
from pipeline.whole_file import WholeFile

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_FILE_SECONDS = 1.0  # between two looks at the file of cameras
_MORE_SECONDS = 5.0  # between two looks for processors that came
_HTML, _JSON, _TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"


def run_fleet(options: FleetOptions) -> int:
    """Run until a signal, or until every source has come to its end; 0, or 130, 143 for Ctrl-C, SIGTERM.

    Raises a StreamdetError for a file, a model or a folder that will not do, before any camera is opened.
    """
    if options.log_format == "json":
        log_as_json(sys.argv[1:])
    if options.out is None:
        raise ConfigError("--out must name the folder of the results")
    file = CamerasFile(options.file)
    for camera in file.plan.cameras:
        if camera.model == file.plan.shared.model:
            model_of(file.plan.shared)  # a mistake in it is one line, and not one for each worker
            break
    reread = threading.Event()
    with (
        Signals(grace_seconds=file.plan.shared.flow.grace_s, on_hangup=reread.set) as signals,
        FleetFolder(options.out) as folder,
        ExitStack() as stack,
    ):
        fleet = FleetRun(options, file, folder, reread, stack)
        with signals.answered_by(fleet.stop):
            fleet.run()
        return 128 + signals.numbers[0] if signals.numbers else 0


class FleetFolder:
    """The folder of a fleet, which one supervisor has at a time.

        results/            what `pipeline.fleet.result_log` keeps
        generations.json    the last generation of each camera
        outbox.sqlite       what a broker does not have yet; outbox-nats.sqlite, a server of NATS

    Raises SinkError where another has it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = OutputLock(path, lock_file=path / ".lock")
        except OSError as error:
            raise error if isinstance(error, SinkError) else self._error(error) from error

    def generations(self) -> dict[str, int]:
        """Of an earlier supervisor. Raises ConfigError for a file that holds something else."""
        file = self.path / "generations.json"
        if not file.exists():
            return {}
        try:
            values = json.loads(file.read_bytes())
            return {str(name): int(number) for name, number in values.items()}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise ConfigError(f"{file}: is not what a fleet wrote; name another --out") from error

    def save_generations(self, generations: Mapping[str, int]) -> None:
        """Keep them; when this returns, they are not lost with the power. Raises SinkError."""
        try:
            with WholeFile(self.path / "generations.json") as file:
                file.file.write(json.dumps(generations).encode())
                file.finish(durable=True)
        except OSError as error:
            raise self._error(error) from error

    def __enter__(self) -> FleetFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _error(self, error: OSError) -> SinkError:
        return SinkError(f"{self.path}: cannot be written: {reason_of(error)}")


class FleetRun:
    """One start of the command. reread: set where the file is to be read again. stack: closes what is opened here."""

    def __init__(
        self, options: FleetOptions, file: CamerasFile, folder: FleetFolder, reread: threading.Event, stack: ExitStack
    ) -> None:
        self._file, self._reread, self._stopping = file, reread, threading.Event()
        self._grace_seconds = file.plan.shared.flow.grace_s
        self._deliveries: list[Delivery] = []
        carriers: dict[str, tuple[str | None, Callable[[str], Carrier]]] = {
            "outbox.sqlite": (options.mqtt, MqttTopic),
            "outbox-nats.sqlite": (options.nats, NatsSubject),
        }
        for name, (address, carrier_of) in carriers.items():
            if address is not None:
                delivery = Delivery(carrier_of(address), Outbox(folder.path / name), keeps=str(folder.path))
                stack.callback(delivery.close)
                self._deliveries.append(delivery)
        self._log = ResultLog(folder.path / "results", options.write)
        stack.callback(self._log.close)
        is_local = options.engine == "local"
        may_run_elsewhere = 0.0 if is_local else time.monotonic() + options.lease
        kept_before = () if is_local else self._log.last_ids()
        self._fleet = CameraFleet(LeaseBook(options.lease, folder.generations()), may_run_elsewhere, kept_before)
        self._fleet.desire(file.plan.cameras)
        self._workers = workers_of(options, OpenHost(file.plan.shared), folder)
        self._supervisor = FleetSupervisor(
            self._fleet,
            self._workers.deaths,
            keep=self._keep,
            save_generations=folder.save_generations,
            is_death_certain=is_local,
        )
        self._watch = FleetWatch(self._fleet)
        self.view = self._watch.view(time.monotonic())
        if options.metrics is not None:
            stack.enter_context(self._endpoint(options.metrics))

    def stop(self) -> None:
        """End, from any thread."""
        self._stopping.set()

    def run(self) -> None:
        """Run until `stop`, or until all sources have ended. Raises FlowError where no worker can begin."""
        with self._workers as workers:
            self._supervisor.add(workers)
            read_at_seconds = grown_at_seconds = time.monotonic()
            while not self._stopping.is_set() and not (self._fleet.is_over() and self._fleet.is_idle()):
                self._step()
                now = time.monotonic()
                if now >= read_at_seconds + _FILE_SECONDS:
                    read_at_seconds = now
                    self._read_if_changed()
                if now >= grown_at_seconds + _MORE_SECONDS:
                    grown_at_seconds = now
                    self._supervisor.add(_more(self._workers))
            self._end()

    def _step(self) -> None:
        self._supervisor.step()
        self.view = self._watch.view(time.monotonic(), trouble=self._supervisor.trouble)
        self._supervisor.wait(_LOOK_SECONDS)
        time.sleep(_LOOK_SECONDS / 10)  # what has come is looked at together

    def _end(self) -> None:
        """Let no worker have a camera any longer, and take what they have for us."""
        self._fleet.desire(())
        ends_at_seconds = time.monotonic() + self._grace_seconds
        while not self._fleet.is_idle() and time.monotonic() < ends_at_seconds:
            self._step()
        print(
            f"{self._fleet.counts.num_results} results kept, {self._fleet.counts.num_moves} moves, "
            f"{self._fleet.counts.num_lost_workers} workers lost"
        )

    def _read_if_changed(self) -> None:
        if not self._reread.is_set() and not self._file.has_changed():
            return
        self._reread.clear()
        try:
            plan = self._file.read_again()
        except ConfigError as error:
            logger.warning("%s; the fleet goes on as it was", error, extra=event("cameras_refused", reason=str(error)))
            return
        self._fleet.desire(plan.cameras)
        num = len(plan.cameras)
        logger.info("%s was read: %d cameras", self._file.path, num, extra=event("cameras_read", cameras=num))

    def _keep(self, lines: Sequence[ResultLine]) -> None:
        self._log.write([line.content for line in lines])
        for line in lines if self._deliveries else ():
            values = json.loads(line.content)
            if values["detections"] or values.get("events"):
                for delivery in self._deliveries:
                    delivery.put(Message(values["id"], line.content.decode()))

    @contextmanager
    def _endpoint(self, word: str) -> Iterator[None]:
        load("pipeline.app.run.fleet.metrics", extra="metrics")
        from pipeline.app.run.exposition import CONTENT_TYPE
        from pipeline.app.run.fleet.metrics import FleetMetrics

        metrics = FleetMetrics(lambda: self.view)
        pages: dict[str, Callable[[], Page]] = {
            "/": lambda: Page(200, _HTML, html_page(self.view)),
            "/fleet.json": lambda: Page(200, _JSON, json_page(self.view)),
            "/metrics": lambda: Page(200, CONTENT_TYPE, metrics.text()),
            "/healthz": lambda: _health_page(self.view),
        }
        with Endpoint(Address.parse(word, "--metrics"), pages, option="--metrics") as endpoint:
            print(f"fleet    http://{endpoint.address}/", flush=True)
            yield


def workers_of(options: FleetOptions, open_host: OpenHost, folder: FleetFolder) -> Workers[Orders, Report]:
    """The workers of an engine. Raises ConfigError for a word that means none."""
    if options.engine == "local":
        return LocalWorkers(open_host, options.workers or available_cores())
    name = hashlib.blake2b(str(folder.path.absolute()).encode(), digest_size=6).hexdigest()
    return RayWorkers(open_host, options.workers, ray_address(options.engine), name=f"streamdet-fleet-{name}")


def _more(workers: Workers[Orders, Report]) -> Sequence[Worker[Orders, Report]]:
    return workers.more() if isinstance(workers, RayWorkers) else ()


def _health_page(view: FleetView) -> Page:
    """Well where results are kept, and some worker takes orders."""
    reason = view.trouble or ("" if view.workers else "no worker takes orders")
    words = reason or f"{view.num_running} of {len(view.cameras)} cameras give pictures"
    return Page(503 if reason else 200, _TEXT, f"{words}\n".encode("utf-8", "backslashreplace"))
