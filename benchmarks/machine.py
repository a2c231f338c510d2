"""Machine: one line that stands beside every measured number."""

from __future__ import annotations

import os

from pipeline.app.machine import available_cores, processor_name, versions


def describe_machine() -> str:
    """One line: processor, usable cores, load, versions."""
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{processor_name()}, {available_cores()} cores, {load}; {packages}"
