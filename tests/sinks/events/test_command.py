"""Command: a program gets the event; nothing of an event becomes a word of the command line."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import SinkError
from pipeline.picture.counting.selection import Selection
from pipeline.sinks.events.command import Command
from pipeline.sinks.events.delivery import Delivery, Refused
from pipeline.sinks.events.outbox import Message, Outbox
from pipeline.sinks.events.receivers import EventReceiver, SeveralReceivers, as_message
from tests.support.events import crossing, result_at

EVIL = "$(touch pwned) `touch pwned`; touch pwned\n' \" --help \0"


def python(program: str, *words: str) -> str:
    return shlex.join([sys.executable, "-c", program, *words])


def test_it_gets_the_event_as_json_and_in_variables_whatever_names_are_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = (
        "import json, os, sys; names = [n for n in os.environ if n.startswith('STREAMDET_')];"
        "json.dump([sys.argv[1:], json.load(sys.stdin), {n: os.environ[n] for n in names}], open('out.json', 'w'))"
    )
    event = replace(crossing(2.5, source_id=EVIL, class_name=EVIL), name=EVIL)
    Command(python(program, "$STREAMDET_NAME", "a b")).deliver(as_message(event))
    words, body, variables = json.loads((tmp_path / "out.json").read_text())
    assert words == ["$STREAMDET_NAME", "a b"]
    assert body["class_name"] == body["name"] == EVIL
    assert variables["STREAMDET_SOURCE"] == EVIL.replace("\0", "")
    assert variables["STREAMDET_BOX"] == "1.0 2.0 5.0 6.0"
    assert variables["STREAMDET_ID"] == event.id
    assert not (tmp_path / "pwned").exists()


def test_a_command_that_fails_is_not_run_again_and_its_last_error_is_the_reason(tmp_path: Path) -> None:
    program = f"import sys; open({str(tmp_path / 'runs')!r}, 'a').write('x'); sys.exit('no such door')"
    sink = EventReceiver(Delivery(Command(python(program), name="--on 'crossed'"), Outbox(), workers=4))
    sink.write(result_at(1.0, crossing(1.0)))
    with pytest.raises(SinkError, match=r"--on 'crossed': of 1 event 1 given up: exit code 1: no such door"):
        sink.close()
    assert (tmp_path / "runs").read_text() == "x"


def test_a_command_that_takes_too_long_is_ended_with_what_it_has_started() -> None:
    program = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).wait()"
    )
    with pytest.raises(Refused, match=r"longer than 0.2 s and was ended"):
        Command(python(program), limit_seconds=0.2).deliver(Message("1", "{}"))


@pytest.mark.parametrize(
    ("line", "reason"), [("", "must name a command"), ("sh -c 'x", "quotes closed"), ("no-such-program-x", "none")]
)
def test_what_cannot_be_run_is_refused_before_the_run(line: str, reason: str) -> None:
    with pytest.raises(SinkError, match=reason):
        Command(line)


class Kept:
    """A carrier that keeps what it gets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.got: list[str] = []

    def deliver(self, message: Message) -> None:
        self.got.append(message.id)

    def close(self) -> None: ...


def test_each_command_gets_the_events_that_are_meant() -> None:
    inwards, outwards, both = Kept("in"), Kept("out"), Kept("any")
    words = {"crossed gate in": inwards, "crossed gate out": outwards, "any": both}
    sink = SeveralReceivers(
        [EventReceiver(Delivery(kept, Outbox()), Selection.parse(text)) for text, kept in words.items()]
    )
    event = crossing()
    other = replace(event, name="yard", kind="entered", direction=None)
    sink.write(result_at(1.0, event, other))
    sink.close()
    assert (inwards.got, outwards.got, sorted(both.got)) == ([event.id], [], sorted([event.id, other.id]))
    assert {name: counted.num_delivered for name, counted in sink.deliveries().items()} == {"in": 1, "out": 0, "any": 2}


def test_a_selection_that_nothing_can_meet_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean crossed"):
        Selection.parse("crosed gate")
    with pytest.raises(ValueError, match="must begin with any, crossed"):
        Selection.parse("")


def test_only_a_direction_that_a_kind_has_is_one() -> None:
    read = {text: Selection.parse(text) for text in ("entered the drive in", "left yard in", "dwelt yard out", "left")}
    assert [(selection.name, selection.direction) for selection in read.values()] == [
        ("the drive", "in"),
        ("yard in", None),
        ("yard out", None),
        (None, None),
    ]
    assert Selection.kinds(at_line=True) == ["crossed"]
