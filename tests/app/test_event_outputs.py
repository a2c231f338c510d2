"""Event outputs of a run: files, clips and receivers that agree with each other, and what is refused."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from tests.support.coded_videos import coded_video, frames_of
from tests.support.command_line import Streamdet, refused
from tests.support.tiny_detector import write_detector

ZONE = ("--zone", "yard=0,0,1,0,1,1,0,1")
COPY = shlex.join([sys.executable, "-c", "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())", "on.txt"])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a video and a model that sees a cat in every picture."""
    spec = DetectorSpec(input_name="images", network_wh=(64, 64), head="boxes", class_names=("cat",))
    rows: dict[str, Any] = {
        "boxes": np.array([[16, 16, 40, 40]], np.float32),
        "scores": np.array([0.9], np.float32),
        "class_ids": np.array([0], np.int64),
    }
    write_detector(tmp_path / "cats.onnx", rows, metadata={METADATA_KEY: spec.to_json()}, adds_mean=False)
    (tmp_path / "street.mp4").write_bytes(coded_video("mp4"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_event_is_in_every_output_under_its_id(streamdet: Streamdet, desk: Path) -> None:
    words = ("--events", "events.jsonl", "--snapshots", "snaps", "--clips", "clips", "--on", "appeared yard", COPY)
    done = streamdet("run", "street.mp4", "-m", "cats.onnx", *ZONE, *words, "--report", "report.json")
    assert done.returncode == 0, done
    events = {event["kind"]: event for event in map(json.loads, Path("events.jsonl").read_text().splitlines())}
    event = events["appeared"]
    assert json.loads(Path("on.txt").read_text()) == event
    (clip,) = map(json.loads, Path("clips/clips.jsonl").read_text().splitlines())
    assert event["id"] in [line["id"] for line in clip["events"]]
    original, shown = (frames_of(Path(name).read_bytes()) for name in ("street.mp4", f"clips/{clip['file']}"))
    assert [frame.to_ndarray().tobytes() for frame in shown] == [frame.to_ndarray().tobytes() for frame in original]
    (crop,) = Path("snaps").glob(f"*-appeared-yard-{event['id']}-crop.jpg")
    height, width = np.asarray(cv2.imread(str(crop))).shape[:2]
    assert (height, width) in ((36, 36), (37, 36))  # 24 network pixels are 36 of 96 × 64, and may touch one more
    assert crop.with_name(crop.name.replace("-crop", "")).exists()
    deliveries = json.loads(Path("report.json").read_text())["deliveries"]
    assert deliveries == {"--on 'appeared yard'": {"delivered": 1, "given_up": 0, "waiting": 0, "reason": ""}}


def test_clips_of_a_private_run_are_of_the_concealed_pictures(streamdet: Streamdet, desk: Path) -> None:
    done = streamdet("run", "street.mp4", "-m", "cats.onnx", *ZONE, "--clips", "clips", "--pixelate", "cat")
    assert done.returncode == 0, done
    (line,) = map(json.loads, Path("clips/clips.jsonl").read_text().splitlines())
    clip = frames_of(Path("clips", line["file"]).read_bytes())
    original = frames_of(Path("street.mp4").read_bytes())
    spread = [
        np.abs(np.diff(frame.to_ndarray(format="gray")[20:40, 30:54].astype(int), axis=1)).mean()
        for frame in (clip[15], original[15])
    ]
    assert spread[0] < 0.3 * spread[1]


def test_a_server_that_is_away_is_named_with_how_many_events_wait_and_the_next_run_delivers_them(
    streamdet: Streamdet, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sinks.events.delivery.SETTLING_SECONDS", 0.1)
    words = ("--webhook", "http://me:secret@127.0.0.1:1/T0KEN", "--event-outbox", "outbox", "--csv", "out.csv")
    done = streamdet("run", "street.mp4", "-m", "cats.onnx", *ZONE, *words)
    assert done.returncode == 1
    assert "webhook http://127.0.0.1:1/***: of 2 events 2 not delivered in outbox for the next run" in done.stderr
    assert "0 delivered, 2 not delivered" in " ".join(done.stdout.split())
    assert "secret" not in done.stdout + done.stderr
    assert "T0KEN" not in done.stdout + done.stderr
    assert len(Path("out.csv").read_text().splitlines()) == 31  # the others went on


def test_a_table_has_a_row_an_event_and_is_added_to(streamdet: Streamdet, desk: Path) -> None:
    for _ in range(2):
        words = ("--events", "events.csv", "--append")
        assert streamdet("run", "street.mp4", "-m", "cats.onnx", *ZONE, *words).returncode == 0
    with Path("events.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows].count("appeared") == 2
    assert rows[0]["id"] == rows[len(rows) // 2]["id"]
    assert {row["name"] for row in rows} == {"yard"}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--events", "e.jsonl"), ("--events is for events at lines and in zones", "add --line")),
        (("--on", "any", "true"), ("--on is for events",)),
        ((*ZONE, "--on", "entered yrd", "true"), ("--on 'entered yrd' must name a line or zone of yard", "mean yard?")),
        ((*ZONE, "--on", "crossed yard", "true"), ("--on 'crossed yard' can never happen: yard is a zone",)),
        ((*ZONE, "--on", "entred yard", "true"), ("must begin with any, crossed", "did you mean entered?")),
        ((*ZONE, "--on", "any", "no-such-program-x"), ("must be a program that can be run",)),
        ((*ZONE, "--on", "any", ""), ("--on must be EVENT COMMAND, such as --on 'crossed gate' ./open.sh",)),
        ((*ZONE, "--snapshots", "x", "--clips", "x"), ("--snapshots and --clips must be two folders, got x for both",)),
        ((*ZONE, "--clip-after", "3"), ("are for --clips, which is missing",)),
        ((*ZONE, "--event-outbox", "x"), ("is for --webhook and --mqtt",)),
        ((*ZONE, "--webhook", "localhost:80"), ("--webhook must be http://",)),
        ((*ZONE, "--clips", "street.mp4"), ("--clips must not be the source itself",)),
    ],
)
def test_what_cannot_be_done_is_one_line(
    streamdet: Streamdet, desk: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    assert refused(streamdet("run", "street.mp4", "-m", "cats.onnx", *words), *parts)
