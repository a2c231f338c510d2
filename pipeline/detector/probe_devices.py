"""Device probe: each device → whether it ran a node on this machine, in which precision, or why not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.detector.devices import DEVICES, Device
from pipeline.detector.installation import load_runtime
from pipeline.detector.rounding import DOUBLING_MODEL, doubled_by
from pipeline.detector.session import open_session
from pipeline.errors import first_line


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """Whether a device ran a node on this machine, and the details."""

    device: Device
    works: bool
    detail: str  # the precision and version where it works, else the cause and the cure


def probe_providers() -> tuple[ProviderReport, ...]:
    """Run a node on every device. Raises MissingExtraError or DeviceError as `load_runtime`."""
    load_runtime()
    return tuple(map(_probe, DEVICES))


def _probe(device: Device) -> ProviderReport:
    try:
        opened = open_session(DOUBLING_MODEL, device, intra_op_threads=1)
        doubled = doubled_by(opened.session)
    except Exception as error:  # whatever keeps a device from running a node is what the report is about
        return ProviderReport(device, False, first_line(error))
    if not np.allclose(doubled, 2, atol=0.01):
        return ProviderReport(device, False, f"computed {doubled.tolist()} where 2 was right")
    return ProviderReport(device, True, opened.precision)
