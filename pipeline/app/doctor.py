"""What can this machine do, and what is wrong with the installation?"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console

from pipeline.app.machine import available_cores, versions
from pipeline.errors import StreamdetError

Mark = Literal["ok", "no", "wrong"]

_SIGN = {"ok": "✓", "no": "–", "wrong": "✗"}
_STYLE = {"ok": "green", "no": "dim", "wrong": "bold red"}


class Finding(NamedTuple):
    """One line of the diagnosis; `wrong` is a fault of the installation, `no` only something that is not there."""

    part: str
    mark: Mark
    text: str


def print_diagnosis() -> bool:
    """Print all findings; False if something is wrong."""
    console = Console()
    findings = list(diagnose())
    part = ""
    for finding in findings:
        if finding.part != part:
            part = finding.part
            console.print(part, style="bold", markup=False)
        console.print(
            f"  {_SIGN[finding.mark]} {finding.text}", style=_STYLE[finding.mark], markup=False, soft_wrap=True
        )
    return all(finding.mark != "wrong" for finding in findings)


def diagnose() -> Iterator[Finding]:
    """Look at the installation, the providers, the codecs, the cameras and the display."""
    yield Finding("versions", "ok", ", ".join(f"{name} {version}" for name, version in versions().items()))
    yield Finding("versions", "ok", f"{platform.system()} {platform.machine()}, {available_cores()} usable cores")
    yield from _packages()
    yield from _providers()
    yield from _codecs()
    yield from _cameras()
    yield from _display()


def _packages() -> Iterator[Finding]:
    from pipeline.detector.providers import opencv_conflict

    conflict = opencv_conflict()
    yield Finding("packages", "wrong" if conflict else "ok", conflict or "one OpenCV")


def _providers() -> Iterator[Finding]:
    from pipeline.detector.providers import probe_providers

    try:
        reports = probe_providers()
    except StreamdetError as error:
        yield Finding("devices (each ran a node)", "wrong", str(error))
        return
    for report in reports:
        mark: Mark = "ok" if report.works else "wrong" if report.device == "cpu" else "no"
        yield Finding("devices (each ran a node)", mark, f"{report.device}: {report.detail}")


def _codecs() -> Iterator[Finding]:
    from pipeline.sinks.recording import CODECS, encoder_failure
    from pipeline.sources.video import decodable

    wanted = ("h264", "hevc", "av1", "vp9", "mjpeg")
    known = decodable(wanted)
    yield Finding("video", "ok" if known == wanted else "no", f"decodes {', '.join(known)}")
    for codec in CODECS:
        failure = encoder_failure(codec)
        text = f"does not encode with {codec}: {failure}" if failure else f"encodes with {codec}"
        yield Finding("video", "no" if failure else "ok", text)


def _cameras() -> Iterator[Finding]:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        yield Finding(
            "cameras", "no", "there is no /dev/video*" if platform.system() == "Linux" else "try: streamdet run 0"
        )
    for device in devices:
        readable = os.access(device, os.R_OK | os.W_OK)
        cure = "" if readable else ": not readable; add yourself to the group video and log in again"
        yield Finding("cameras", "ok" if readable else "wrong", f"{device}{cure}")


def _display() -> Iterator[Finding]:
    from pipeline.sinks.window import has_display

    if has_display():
        yield Finding("display", "ok", "windows can be shown")
    else:
        yield Finding("display", "no", "there is no display; record (-o) instead of showing")
