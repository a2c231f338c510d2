"""Cameras file: the configuration of a run → the cameras of a fleet, and the settings that all of them share."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pipeline.app.config.loading import find_config, load_config, with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.opened_sources import source_entries
from pipeline.errors import ConfigError
from pipeline.fleet.camera_messages import Camera
from pipeline.masking import masked_address

_SET_BY_FLEET = "--out, --write, --mqtt, --nats and --metrics"


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What a file asks for. shared: of every worker, without the cameras."""

    cameras: tuple[Camera, ...]
    shared: RunConfig


class CamerasFile:
    """A file that is read again where it has changed. Raises ConfigError for what is not the file of a fleet."""

    def __init__(self, word: str) -> None:
        self.path = find_config(word)
        self._stamp = self._read_stamp()
        self.plan = plan_of(load_config(word))

    def has_changed(self) -> bool:
        """Whether it is another than the one that was read last; one that is gone has not changed."""
        stamp = self._read_stamp()
        return stamp is not None and stamp != self._stamp

    def read_again(self) -> FleetPlan:
        """Read it. Raises ConfigError for mistakes, and where more than the cameras has changed."""
        self._stamp = self._read_stamp()
        plan = plan_of(load_config(str(self.path)))
        if plan.shared != self.plan.shared:
            before, after = self.plan.shared.model_dump(), plan.shared.model_dump()
            keys = ", ".join(key for key in after if after[key] != before.get(key))
            raise ConfigError(f"{self.path}: {keys} cannot change while the fleet runs, only sources; start it anew")
        self.plan = plan
        return plan

    def _read_stamp(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - as Path.stat
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns


def plan_of(config: RunConfig) -> FleetPlan:
    """The cameras of a configuration, and the rest of it. Raises ConfigError for what a fleet has no use for."""
    _refuse(config)
    entries = source_entries(config)
    names = [entry.name or masked_address(entry.url) for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two sources must not have one name, got {name!r} twice; give each a name of its own")
    cameras = tuple(
        Camera(name, entry.model or config.model or "", entry.model_dump(mode="json", exclude_defaults=True))
        for name, entry in zip(names, entries, strict=True)
    )
    threads = {"engine.threads": config.engine.threads or 1, "flow.wait_for_sources": True, "output.show": False}
    return FleetPlan(cameras, with_keys(config, {"sources": (), **threads}))


def _refuse(config: RunConfig) -> None:
    if not config.sources:
        raise ConfigError("sources must name the cameras of the fleet, got none")
    if config.output.model_copy(update={"show": None}) != type(config.output)():
        raise ConfigError(f"a fleet writes what {_SET_BY_FLEET} say; leave output out of the configuration")
    if config.events != type(config.events)() or config.serve is not None or config.control is not None:
        raise ConfigError(f"a fleet gives what {_SET_BY_FLEET} say; leave events, serve and control out")
    if config.model is None and any(entry.model is None for entry in config.source_configs):
        raise ConfigError("model must name the detector: a name of `streamdet models`, or an ONNX file")
