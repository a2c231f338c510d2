"""Knobs of a search: its start and this machine → the settings that can be turned, and to what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.app.machine import available_cores
from pipeline.app.model_branch import default_inflight, default_threads
from pipeline.app.tune.start import Start
from pipeline.detector.probe_devices import probe_providers
from pipeline.measure.search import Knob, Setting

# TensorRT builds a network for minutes before it runs.
_TENSORRT_BUDGET_SECONDS = 300.0
# None: the default of the device; cpu and cuda compute as the model was exported.
_PRECISIONS: Mapping[str, tuple[str | None, ...]] = {
    "cpu": (None,),
    "openvino": (None, "fp32"),
    "cuda": (None,),
    "tensorrt": (None, "fp16", "bf16"),
}
_ON_GPU = ("cuda", "tensorrt")


def knobs_of(start: Start, models: Sequence[str], *, budget_seconds: float) -> list[Knob]:
    """The knobs that can be turned on this machine, but for what the user has set.

    models: the files to try, the start's first.
    """
    fixed = {f"engine.{key}" for key in start.config.engine.model_fields_set}
    fixed |= {f"flow.{key}" for key in start.config.flow.model_fields_set}
    devices = _devices(start, budget_seconds, is_fixed="engine.device" in fixed)
    changes = _Changes(start, devices, models[1:])
    knobs = {
        "device": changes.of_device,
        "model": changes.of_model,
        "cores": changes.of_cores,
        "spinning": changes.of_spinning,
        "batch": changes.of_batch,
        "queues": changes.of_queues,
    }
    return [Knob(name, _without(fixed, change)) for name, change in knobs.items()]


def _devices(start: Start, budget_seconds: float, *, is_fixed: bool) -> Sequence[str]:
    """The devices that work on this machine and may be tried."""
    devices = [provider.device for provider in probe_providers() if provider.works]
    if is_fixed:
        return [device for device in devices if device == start.device]
    if budget_seconds < _TENSORRT_BUDGET_SECONDS:
        return [device for device in devices if device != "tensorrt"]
    return devices


@dataclass(frozen=True, slots=True)
class _Changes:
    """What each knob changes in a setting."""

    start: Start
    devices: Sequence[str]
    other_models: Sequence[str]

    def of_device(self, setting: Setting) -> Iterable[Setting]:
        current = self._device(setting), setting.get("engine.precision")
        for device in self.devices:
            for precision in _PRECISIONS[device]:
                if (device, precision) != current:
                    yield {
                        "engine.device": None if device == self.start.device else device,
                        "engine.precision": precision,
                    }

    def of_model(self, _: Setting) -> Iterable[Setting]:
        return ({"model": model} for model in self.other_models)

    def of_cores(self, setting: Setting) -> Iterable[Setting]:
        device = self._device(setting)
        if device in _ON_GPU:
            return ({"engine.inflight": inflight} for inflight in (1, 3, 4))
        return _shares_of_cores(available_cores(), live_sources=self.start.live_sources, device=device)

    def of_spinning(self, setting: Setting) -> Iterable[Setting]:
        default = self.start.config.engine.threads or default_threads(live_sources=self.start.live_sources)
        if self._device(setting) != "cpu" or setting.get("engine.threads", default) <= 1:
            return ()
        return ({"engine.spin_us": spin} for spin in (0, 1000, None))

    def of_batch(self, setting: Setting) -> Iterable[Setting]:
        if self.start.is_live or self.start.spec.batch is not None:
            return ()
        batches = (2, 4, 8, 16) if self._device(setting) in _ON_GPU else (2, 4)
        return ({"engine.batch": batch} for batch in batches)

    def of_queues(self, _: Setting) -> Iterable[Setting]:
        return ({"flow.queue_capacity": 1 if self.start.is_live else 4},)

    def _device(self, setting: Setting) -> str:
        return str(setting.get("engine.device", self.start.device))


def _without(
    fixed: set[str], changes: Callable[[Setting], Iterable[Setting]]
) -> Callable[[Setting], Iterable[Setting]]:
    """The same changes, but for keys that the user has set."""

    def allowed(setting: Setting) -> Iterable[Setting]:
        for change in changes(setting):
            yield {key: value for key, value in change.items() if key not in fixed}

    return allowed


def _shares_of_cores(cores: int, *, live_sources: int, device: str) -> Iterable[Setting]:
    """How inferences share the cores: threads of each, times how many at once; just enough, and one more."""
    default = (default_threads(live_sources=live_sources), default_inflight(live_sources=live_sources, device=device))
    threads = sorted({1, *(2**power for power in range(1, cores.bit_length())), cores, max(1, cores - 1)})
    for num_threads in (num for num in threads if num <= cores):
        enough = -(-cores // num_threads)
        for inflight in (1, 2) if live_sources else (enough, enough + 1):
            yield (
                {"engine.threads": None, "engine.inflight": None}
                if (num_threads, inflight) == default
                else {"engine.threads": num_threads, "engine.inflight": inflight}
            )
