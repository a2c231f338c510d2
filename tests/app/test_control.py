"""Control: sources of a run come and go by requests at a socket, and nothing else is let in."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config
from pipeline.app.config.source import SourceConfig
from pipeline.app.ctl.command import ask, reply_of
from pipeline.app.run.control import Control, answer, refuse_socket
from pipeline.app.run.supervisor import Supervisor
from pipeline.errors import ConfigError, FlowError, StreamdetError
from pipeline.flow.running import Running
from pipeline.picture.detections import Result
from tests.support.command_line import STREAMDET, Streamdet, refused, run_streamdet


class Watched:
    """A run that goes on, whose results can be waited for."""

    def __init__(self, supervisor: Supervisor, running: Running[Result]) -> None:
        self.supervisor, self.running = supervisor, running
        self.objects: dict[str, list[int]] = {}
        self._changed = threading.Condition()

    def see(self, result: Result) -> None:
        with self._changed:
            self.objects.setdefault(result.frame.source_id, []).append(len(result.detections))
            self._changed.notify_all()

    def wait_for(self, name: str, num: int) -> list[int]:
        """The numbers of objects in the first frames of a source, once there are as many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.objects.get(name, ())) >= num, 30)
            return self.objects[name]

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait for what no frame tells."""
        with self._changed:
            assert any(holds() or self._changed.wait(0.01) for _ in range(3000))


@pytest.fixture
def watched(tmp_path: Path, small_video: Path, small_detector: Path) -> Iterator[Callable[..., Watched]]:
    """Starts a run that stays open, with the video as `first`."""
    running: list[Running[Result]] = []

    def start(**options: object) -> Watched:
        config = load_config(
            options={
                "sources": ({"url": str(small_video), "name": "first"},),
                "model": str(small_detector),
                "engine.device": "cpu",
                "output.show": False,
                "control": str(tmp_path / "unused.socket"),
                "detection.score_threshold": 0.35,
                **options,
            }
        )
        assembly = assemble(config)
        sees: list[Callable[[Result], None]] = []
        run = Running(assembly.flow.observe(lambda result: sees[0](result)), stays_open=True)
        run_watched = Watched(Supervisor(run, assembly), run)
        sees.append(run_watched.see)
        running.append(run.__enter__())
        return run_watched

    yield start
    for run in running:
        run.stop()
        run.wait()
        run.__exit__(None, None, None)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder with a short path, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="sd") as name:
        yield Path(name)


def test_a_source_comes_with_a_recording_and_settings_of_its_own(
    watched: Callable[..., Watched], tmp_path: Path, small_video: Path
) -> None:
    """The detector finds a cat with score 0.9 and a dog with 0.4."""
    run = watched(**{"output.video": str(tmp_path / "o.mp4"), "output.jsonl": str(tmp_path / "o.jsonl")})
    assert run.wait_for("first", 30) == [2] * 30
    entry = SourceConfig(url=str(small_video), name="door", classes=("dog",), weight=2)
    assert run.supervisor.add(entry) == "door"
    assert run.wait_for("door", 30) == [1] * 30
    run.wait_until(lambda: "door" not in {node.name for node in run.running.flow.nodes})
    run.supervisor.add(SourceConfig(url=str(small_video), name="door"))
    assert run.wait_for("door", 60)[30:] == [2] * 30
    run.running.stop()
    run.running.wait()
    assert {path.name for path in tmp_path.glob("*.mp4")} == {"o.mp4", "o-door.mp4", "o-door-2.mp4"}
    names = [json.loads(line)["source"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert {name: names.count(name) for name in names} == {"first": 30, "door": 60}
    assert [Path(target.path).name for target in run.supervisor.assembly.targets] == [
        *("o.jsonl", "o.mp4"),
        *("o-door.mp4", "o-door-2.mp4"),
    ]
    assert [(source.name, source.state.name) for source in run.supervisor.sources()] == [
        ("first", "ended"),
        ("door", "ended"),
    ]
    assert list(run.supervisor.assembly.sources) == ["first", "door"]


def test_a_source_is_paused_resumed_and_removed(watched: Callable[..., Watched]) -> None:
    run = watched()
    url = "sim:traffic?seed=1&size=64x48&fps=100"
    assert run.supervisor.add(SourceConfig(url=url, name="street")) == "street"
    run.wait_for("street", 1)
    run.supervisor.pause("street")
    assert {source.name: source.is_paused for source in run.supervisor.sources()}["street"]
    run.supervisor.pause("street", is_paused=False)
    run.wait_for("street", len(run.objects["street"]) + 5)
    run.supervisor.remove("street")
    run.wait_until(lambda: "street" not in {node.name for node in run.running.flow.nodes})
    with pytest.raises(FlowError, match="the run has no source 'street'"):
        run.supervisor.remove("street")


@pytest.mark.parametrize(
    ("entry", "options", "message"),
    [
        ({"url": "nowhere.mp4"}, {}, r"^nowhere\.mp4: there is no such file"),
        ({"url": "-"}, {}, "standard input belongs to the run"),
        ({"url": "VIDEO", "classes": ("dogs",)}, {}, "no class 'dogs'; did you mean 'dog'"),
        ({"url": "VIDEO", "score_threshold": 0.1}, {}, r"score_threshold must be at least 0\.35"),
        ({"url": "VIDEO", "score_threshold": 0.5}, {"control": None}, "added to a run with --control"),
        ({"url": "VIDEO"}, {"output.mosaic": True, "output.video": "wall.mp4"}, "--mosaic takes the sources that are"),
        ({"url": "VIDEO"}, {"output.video": "seen/"}, "--output as images takes the sources that are there"),
    ],
    ids=["missing", "stdin", "class", "threshold", "no control", "mosaic", "images"],
)
def test_what_a_run_cannot_take_is_refused_and_the_run_goes_on(
    watched: Callable[..., Watched],
    small_video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    entry: dict[str, object],
    options: dict[str, object],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = watched(**options)
    words = {key: str(small_video) if value == "VIDEO" else value for key, value in entry.items()}
    with pytest.raises(StreamdetError, match=message):
        run.supervisor.add(SourceConfig.model_validate({"name": "new", **words}))
    run.wait_for("first", 30)
    assert [source.name for source in run.supervisor.sources()] == ["first"]


def test_a_name_that_the_run_has_is_refused(watched: Callable[..., Watched]) -> None:
    run = watched()
    street = SourceConfig(url="sim:traffic?seed=1&size=64x48&fps=100", name="street")
    run.supervisor.add(street)
    with pytest.raises(
        FlowError, match="has a source 'street' already; remove it, or add this one with another --name"
    ):
        run.supervisor.add(street)


def test_requests_and_answers_go_through_the_socket(
    watched: Callable[..., Watched], folder: Path, small_video: Path
) -> None:
    run = watched()
    path = folder / "new" / "run.socket"
    with Control(path, run.supervisor):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        done = run_streamdet("ctl", path, "add", small_video, "--name", "door", "--classes", "dog", "--weight", "2")
        assert (done.returncode, done.stdout.split()) == (0, ["add", "door"])
        assert run.wait_for("door", 30) == [1] * 30
        done = run_streamdet("ctl", path, "list")
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["name", "first", "door"]
        assert refused(run_streamdet("ctl", path, "remove", "yard"), "the run has no source 'yard'")
        with pytest.raises(ConfigError, match=r"another run listens at"):
            refuse_socket(path)
    assert not path.exists()
    assert refused(run_streamdet("ctl", path, "list"), "no run answers at", f"start it with --control {path}")


def test_a_run_from_the_command_line_listens_until_it_is_stopped(
    folder: Path, small_video: Path, small_detector: Path
) -> None:
    path, report = folder / "s", folder / "r.json"
    words = ("run", "sim:traffic?seed=1&size=64x48&seconds=1", "-m", "demo", "--device", "cpu", "--no-show")
    outputs = ("-o", folder / "o.mp4", "--report", report, "--control", path)
    command = [*STREAMDET, *map(str, (*words, *outputs))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert any(path.is_socket() or not _runs_on(process) for _ in range(600))
        assert ask(path, {"command": "add", "source": {"url": str(small_video), "name": "door"}}) == "door"
        assert any("ended" in _states(path).get("door", "") or not _runs_on(process) for _ in range(600))
        process.send_signal(signal.SIGINT)
        printed, complaints = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, complaints
    assert not path.exists()
    assert f"{folder / 'o-door.mp4'}" in printed
    sources = json.loads(report.read_text())["sources"]
    assert [source["frames"]["delivered"] for source in sources.values()] == [30, 30]
    assert re.search(
        r"objects \(.*\) found in 6 frames", printed
    )  # each fifth of the street that was drawn, none of door


def _runs_on(process: subprocess.Popen[str]) -> bool:
    """Whether a process goes on, after a moment."""
    try:
        process.wait(0.1)
    except subprocess.TimeoutExpired:
        return True
    return False


def _states(path: Path) -> dict[str, str]:
    sources = ask(path, {"command": "list"})
    assert isinstance(sources, list)
    return {str(source["name"]): str(source["state"]) for source in sources if isinstance(source, dict)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nonsense\n", "one line of JSON"),
        (b"[" * 60_000, "one line of JSON"),
        (b"\xff\n", "one line of JSON"),
        (b'{"command": "list", "command": "remove"}\n', "cannot be read: the key 'command' must be there once"),
        (b"[1]\n", "command must be one of add, remove, pause, resume, list"),
        (b'{"command": ["add"]}\n', "command must be one of"),
        (b'{"command": "add"}\n', "add must have the key source and no other, got none"),
        (b'{"command": "add", "source": {"url": "a", "weigth": 2}}\n', "did you mean source.weight?"),
        (
            b'{"command": "add", "source": {"url": "rtsp://u:hunter2@c", "weight": 0}}\n',
            "source.weight must be greater",
        ),
        (b'{"command": "remove", "name": 3}\n', "name must be text, got int"),
        (b'{"command": "list", "more": 1}\n', "list must have no other key, got more"),
    ],
)
def test_a_request_that_is_none_is_answered_in_one_line(
    watched: Callable[..., Watched], line: bytes, message: str
) -> None:
    error = answer(line, watched().supervisor)["error"]
    assert isinstance(error, str)
    assert message in error
    assert "\n" not in error
    assert "hunter2" not in error


def test_a_socket_that_a_killed_run_left_is_taken(watched: Callable[..., Watched], folder: Path) -> None:
    path = folder / "run.socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with Control(path, watched().supervisor):
        assert ask(path, {"command": "list"})


def test_a_file_and_a_folder_of_others_are_refused(folder: Path) -> None:
    (folder / "notes.txt").write_text("kept")
    with pytest.raises(ConfigError, match=r"^--control must be a path where no file is, got .*notes\.txt$"):
        refuse_socket(folder / "notes.txt")
    assert (folder / "notes.txt").read_text() == "kept"
    os.chmod(folder, 0o777)  # noqa: PTH101
    with pytest.raises(ConfigError, match=r"^--control must be in a folder that others cannot write to"):
        refuse_socket(folder / "run.socket")
    with pytest.raises(ConfigError, match=r"^--control must be a path of at most 107 bytes"):
        refuse_socket(folder / ("x" * 200))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("list", "door"), "list takes no source, got door"),
        (("add",), "add must name a source"),
        (("remove", "door", "--weight", "2"), "--weight is for `add`; leave it out for `remove`"),
        (("fly", "door"), "ACTION must be one of add, remove, pause, resume, list"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(streamdet: Streamdet, words: tuple[str, ...], message: str) -> None:
    assert refused(streamdet("ctl", "nowhere.socket", *words), message)


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\n", b"[1]\n", b"{}\n", b'{"error": 5}\n', b"[" * 100_000, b"\xff\n"])
def test_the_answer_of_what_is_no_run_is_one_error(line: bytes) -> None:
    with pytest.raises(ConfigError, match="must be the socket of a run's --control"):
        reply_of(line, Path("a.sock"))
