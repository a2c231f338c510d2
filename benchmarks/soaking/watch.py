"""Watch: a process that serves /metrics, and cameras → samples; an index of segments → whether they play."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import av
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.soaking.camera import Camera
from benchmarks.soaking.samples import BUCKETS, Sample, SourceSample

SAMPLE_SECONDS = 0.5
_SCRAPE_TIMEOUT_SECONDS = 2.0


class Watch:
    """Samples a process twice a second until it is closed. cameras: by the name of their source."""

    def __init__(self, pid: int, port: int, cameras: Mapping[str, Camera], index: Path) -> None:
        self.samples: list[Sample] = []
        self.num_missed = 0  # scrapes without an answer: the process was stopped, or hangs
        self.segments = SegmentCheck(index)
        self._pid, self._url, self._cameras = pid, f"http://127.0.0.1:{port}/metrics", cameras
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and look at the segments that are left."""
        self._is_over.set()
        self._thread.join()
        self.segments.look()

    def _run(self) -> None:
        due_at_seconds = time.monotonic()
        while not self._is_over.wait(max(0.0, due_at_seconds - time.monotonic())):
            due_at_seconds = max(due_at_seconds + SAMPLE_SECONDS, time.monotonic())
            try:
                self.samples.append(self._sample())
            except OSError:
                self.num_missed += 1
            self.segments.look(most=1)

    def _sample(self) -> Sample:
        cameras = {name: (camera.num_given, camera.is_giving) for name, camera in dict(self._cameras).items()}
        with urllib.request.urlopen(self._url, timeout=_SCRAPE_TIMEOUT_SECONDS) as answer:
            text = answer.read().decode()
        at_seconds = time.monotonic()
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{self._pid}/status").read_text().splitlines())
        times = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return Sample(
            at_seconds,
            sources_of(text, cameras),
            rss_bytes=int(status["VmRSS"].split()[0]) * 1024,
            anonymous_bytes=int(status["RssAnon"].split()[0]) * 1024,
            descriptors=sum(1 for _ in Path(f"/proc/{self._pid}/fd").iterdir()),
            threads=int(status["Threads"]),
            cpu_seconds=(int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
        )


def sources_of(text: str, cameras: Mapping[str, tuple[int, bool]]) -> dict[str, SourceSample]:
    """The sources in a text of /metrics. cameras: what the camera of each has given, and whether it gives."""
    captured: dict[str, int] = {}
    in_flight: dict[str, int] = {}
    ended: dict[str, dict[str, int]] = {}
    ages: dict[str, dict[float, int]] = {}
    for family in text_string_to_metric_families(text):
        for row in family.samples:
            source = row.labels.get("source", "")
            if row.name == "streamdet_frames_captured_total":
                captured[source] = int(row.value)
            elif row.name == "streamdet_frames_in_flight":
                in_flight[source] = int(row.value)
            elif row.name == "streamdet_frames_total":
                ended.setdefault(source, dict.fromkeys(BUCKETS, 0))[row.labels["bucket"]] = int(row.value)
            elif row.name == "streamdet_frame_age_seconds_bucket":
                ages.setdefault(source, {})[float(row.labels["le"])] = int(row.value)
    return {
        source: SourceSample(
            num, in_flight[source], ended[source], ages.get(source, {}), *cameras.get(source, (0, False))
        )
        for source, num in captured.items()
    }


class SegmentCheck:
    """Decodes each finished segment of an index once, by libav alone."""

    def __init__(self, index: Path) -> None:
        self.num_played = self.num_frames = 0
        self.num_gone = 0  # deleted, to make room, before they were looked at
        self.unplayable: list[str] = []
        self._index = index
        self._seen: set[str] = set()

    def look(self, *, most: int | None = None) -> None:
        """Decode what is new, at most that many segments."""
        new = [line for line in index_lines(self._index) if line.get("frames") and line["file"] not in self._seen]
        for line in new[:most]:
            self._seen.add(str(line["file"]))
            path = self._index.parent / str(line["file"])
            try:
                num_frames, _ = played(path)
            except FileNotFoundError:
                self.num_gone += 1
                continue
            self.num_played += 1
            self.num_frames += num_frames
            if num_frames != line["frames"]:
                self.unplayable.append(f"{path.name}: {num_frames} frames play, the index says {line['frames']}")
        torn = [f"{self._index.name}: no JSON: {line}" for line in torn_index_lines(self._index)]
        self.unplayable += [line for line in torn if line not in self.unplayable]


def index_lines(index: Path) -> Sequence[dict[str, object]]:
    """The lines of an index, but for those that are torn: one that is being written, or `torn_index_lines`."""
    return [line for _, line in _parsed(index) if line is not None]


def torn_index_lines(index: Path) -> Sequence[str]:
    """Lines that are no JSON although others follow them."""
    return [repr(text[:100]) for text, line in _parsed(index) if line is None]


def _parsed(index: Path) -> Iterator[tuple[bytes, dict[str, object] | None]]:
    try:
        lines = index.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield line, json.loads(line)
        except ValueError:
            yield line, None


def played(path: Path) -> tuple[int, float]:
    """How many frames of a file play, up to the first error, and the time of the last. Raises FileNotFoundError."""
    num, seconds = 0, 0.0
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                num, seconds = num + 1, frame.time or 0.0
    except FileNotFoundError:
        raise
    except av.FFmpegError:
        pass
    return num, seconds
