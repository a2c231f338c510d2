"""Telemetry: what keeps the libraries that we load from reporting to their makers, here and in child processes."""

from __future__ import annotations

import os

OPT_OUTS = {
    # From 1.29 on it writes an identifier into the user's cache and reports from Linux too, unless this is set before
    # it is imported; `disable_telemetry_events()` comes too late for both (onnxruntime issue 27379).
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment variable → what it must be; whoever has set another value has said what he wants."""


def opt_out() -> None:
    """Set them for this process and those that it starts. Must come before the libraries are imported."""
    for name, value in OPT_OUTS.items():
        os.environ.setdefault(name, value)
