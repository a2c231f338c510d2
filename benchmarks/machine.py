"""What machine were these numbers measured on?"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from pipeline.app.machine import available_cores, versions


def describe_machine() -> str:
    """One line: processor, usable cores, load, versions."""
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{processor}, {available_cores()} cores, {load}; {packages}"
