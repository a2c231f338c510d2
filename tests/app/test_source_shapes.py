"""Lines and zones of a run that goes on: drawn from outside, in effect with the next frame, saved to its file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

import streamdet
from pipeline.app.assemble import assemble
from pipeline.app.config.loading import config_of_text, load_config, shapes_of
from pipeline.app.config.run import RunConfig
from pipeline.app.counting import ShapeSettings, shape_settings
from pipeline.app.opened_sources import source_entries
from pipeline.app.run.shapes_file import ShapesFile
from pipeline.app.run.source_shapes import as_yaml
from pipeline.app.run.supervisor import Supervisor
from pipeline.errors import ConfigError, FlowError
from pipeline.flow.running import Running
from pipeline.picture.detections import Result

STREET = "sim:traffic?seed=1&size=320x192&fps=50"
GATE = {"gate": {"points": [[0.5, 0], [0.5, 1]]}}
CAMERAS = """\
# Cameras of the yard.
model: yolox-nano   # small
sources:
  - url: rtsp://door/stream   # by the door
    name: door
    lines:
      gate: 0,0.5,1,0.5   # the gate
      old: '0,0,1,1'
  # the yard is new
  - yard.mp4
  - {url: hall.mp4, name: hall}
lines:
  road: {points: [0, 0.8, 1, 0.8], classes: [car]}  # the road
zones:
  lawn: [[0, 0], [1, 0], [1, 1]]
# the end
"""


def shapes(text: str, index: int) -> ShapeSettings:
    config = config_of_text(text, "cameras.yaml")
    return shape_settings(config, config.source_configs[index])


def drawn(**kinds: dict[str, object]) -> ShapeSettings:
    config = RunConfig.model_validate(kinds)
    return ShapeSettings(config.lines, config.zones)


class File:
    """A configuration file, and the run that was started with it."""

    def __init__(self, path: Path, text: str, *sources: str) -> None:
        self.path = path
        path.write_text(text)
        self.config = load_config(str(path), options={"sources": sources})
        entries = source_entries(self.config)
        self.entries = dict(zip([entry.name or entry.url for entry in entries], entries, strict=True))
        self._shapes = ShapesFile()

    def save(self, name: str, settings: ShapeSettings) -> str:
        assert self._shapes.save(self.config, self.entries, name, settings) == self.path
        assert self._shapes.has(self.config, self.entries, name, settings)
        return self.path.read_text()


def test_a_source_gets_its_shapes_and_every_other_line_of_the_file_stays(tmp_path: Path) -> None:
    file = File(tmp_path / "cameras.yaml", CAMERAS)
    before = shapes(CAMERAS, 0)
    moved = drawn(
        lines={"gate": "0,0.4,1,0.4", "new": [0.25, 0, 0.25, 1], "road": before.lines["road"]},
        zones={"lawn": "0,0,1,0,1,1"},
    )
    text = file.save("door", moved)
    assert shapes(text, 0) == moved
    assert [shapes(text, index) for index in (1, 2)] == [shapes(CAMERAS, index) for index in (1, 2)]
    lines, old = text.splitlines(), CAMERAS.splitlines()
    assert [line for line in lines if line not in old] == [
        "      gate: 0,0.4,1,0.4   # the gate",
        "      new: 0.25,0,0.25,1",
    ]
    assert [line for line in old if line not in lines] == [
        "      gate: 0,0.5,1,0.5   # the gate",
        "      old: '0,0,1,1'",
    ]


def test_a_line_of_the_run_that_is_taken_from_one_source_stays_with_the_others(tmp_path: Path) -> None:
    file = File(tmp_path / "cameras.yaml", CAMERAS)
    text = file.save("yard.mp4", drawn(lines={"road": "0,0.7,1,0.7"}))  # moved, and the lawn is gone
    assert shapes(text, 1) == drawn(lines={"road": "0,0.7,1,0.7"})
    assert [shapes(text, index) for index in (0, 2)] == [shapes(CAMERAS, index) for index in (0, 2)]
    for comment in (
        "# Cameras",
        "# small",
        "# by the door",
        "# the gate",
        "# the yard is new",
        "# the road",
        "# the end",
    ):
        assert comment in text


@pytest.mark.parametrize("text", ["model: demo\n", "", "# mine\nlines:\n  gate: 0,0,1,1 # old\n"])
def test_the_only_source_may_stand_on_the_command_line(tmp_path: Path, text: str) -> None:
    file = File(tmp_path / "one.yaml", text, "street.mp4")
    new = drawn(
        lines={"door": {"points": "0,1,1,0", "classes": ["car"], "anchor": "centre"}},
        zones={"yard": {"points": "0,0,640,0,640,480", "dwell_s": 3}},
    )
    after = config_of_text(file.save("street.mp4", new), "one.yaml")
    assert ShapeSettings(after.lines, after.zones) == new
    assert ("# mine" in file.path.read_text()) == ("# mine" in text)
    assert config_of_text(file.save("street.mp4", drawn()), "one.yaml").lines == {}


@pytest.mark.parametrize(
    "sources", ["[street.mp4]", "\n- street.mp4", "\n- url: street.mp4\n  zones: {a: '0,0,1,0,1,1'}"]
)
def test_the_only_source_of_a_file_gets_its_shapes_however_it_is_written(tmp_path: Path, sources: str) -> None:
    file = File(tmp_path / "one.yaml", f"sources: {sources}\n")
    new = drawn(lines={"gate": "0,1,1,0"}, zones={"yard": "0,0,1,0,1,1"})
    assert shapes(file.save("street.mp4", new), 0) == new
    assert shapes(file.save("street.mp4", drawn()), 0) == drawn()


def test_the_first_save_keeps_what_there_was_and_permissions_stay(tmp_path: Path) -> None:
    file = File(tmp_path / "cameras.yaml", CAMERAS)
    file.path.chmod(0o640)
    file.save("door", drawn(lines={"a": "0,0,1,1"}))
    file.save("door", drawn(lines={"b": "0,0,1,1"}))
    backup = tmp_path / "cameras.yaml.bak"
    assert backup.read_text() == CAMERAS
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file.path, backup)] == [0o640, 0o600]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cameras.yaml", "cameras.yaml.bak"]


def test_what_was_written_by_hand_meanwhile_stays(tmp_path: Path) -> None:
    file = File(tmp_path / "cameras.yaml", CAMERAS)
    file.path.write_text(CAMERAS.replace("yolox-nano", "other"))
    assert "model: other" in file.save("door", drawn())


def test_a_file_that_cannot_have_them_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    file = File(path, CAMERAS, "elsewhere.mp4")
    with pytest.raises(ConfigError, match=r"elsewhere.mp4 must be a source of its own in the file of --config"):
        file.save("elsewhere.mp4", drawn())
    file = File(path, CAMERAS)
    path.write_text("sources: [")
    with pytest.raises(ConfigError, match=r"cameras.yaml, line \d: is not YAML"):
        file.save("door", drawn())
    assert path.read_text() == "sources: ["
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        file.save("door", drawn())
    assert not list(tmp_path.iterdir())
    for word, words in ((None, "started without a file"), ("webcam", "with the preset webcam")):
        config = load_config(word, options={"sources": ("a.mp4",)})
        with pytest.raises(ConfigError, match=words):
            ShapesFile().save(config, {"a.mp4": source_entries(config)[0]}, "a.mp4", drawn())


def test_lines_drawn_while_a_run_goes_on_count_from_then_on_and_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "street.yaml"
    path.write_text(f"sources: ['{STREET}']\ntrack: {{kind: bytetrack}}\noutput: {{show: false}}\n")
    results: list[Result] = []
    assembly = assemble(load_config(str(path)), takes_sources=True)
    with Running(assembly.flow.observe(results.append)) as running:
        supervisor = Supervisor(running, assembly)
        drawing = supervisor.shapes
        assert drawing.of(STREET)["lines"] == {}
        changes = iter(
            ((10, {"lines": GATE, "zones": {}}), (30, {"lines": {**GATE, "exit": "0,0.6,1,0.6"}, "zones": {}}))
        )
        due = next(changes)

        def on_tick() -> None:
            nonlocal due
            if due is not None and len(results) > due[0]:
                drawing.change(STREET, due[1])  # type: ignore[arg-type]
                due = next(changes, None)  # type: ignore[assignment]
            elif due is None and len(results) > 90:
                running.stop()

        running.wait(on_tick=on_tick, tick_seconds=0.01)
        for values, words in (
            (
                {"lines": {"far": "400,0,400,9"}, "zones": {}},
                r"lines\.far must lie within the picture, 320×192 of sim:traffic",
            ),
            ({"lines": {"gate": "0,0,1,1"}, "zones": {"gate": "0,0,1,0,1,1"}}, "rename one of the two"),
            (
                {"lines": {}, "zones": {"bow": "0,0,1,1,1,0,0,1"}},
                "the request: zones.bow.* must not cross or touch itself",
            ),
            ({"lines": {"a": {"points": "0,0,1,1", "classes": ["cat"]}}, "zones": {}}, "no class 'cat'"),
            ({"lines": {"../a": "0,0,1,1"}, "zones": {}}, "the request: lines"),
            ({"lines": {}}, "must have the keys lines and zones"),
            ({"lines": {f"l{number}": "0,0,1,1" for number in range(101)}, "zones": {}}, "at most 100"),
        ):
            with pytest.raises(ConfigError, match=words):
                drawing.change(STREET, values)
        with pytest.raises(FlowError, match="no source 'nowhere'"):
            drawing.of("nowhere")
        assert drawing.of(STREET)["is_saved"] is False
        drawing.save(STREET)
        assert drawing.of(STREET)["is_saved"] is True
    names = [
        () if result.counting is None else tuple(line.name for line in result.counting.lines) for result in results
    ]
    assert list(dict.fromkeys(names)) == [(), ("gate",), ("gate", "exit")]
    assert list(config_of_text(path.read_text(), "street.yaml").lines) == ["gate", "exit"]
    totals = [sum(result.counting.lines[0].num_in.values()) for result in results if result.counting is not None]
    assert totals == sorted(totals)  # it went on when another line was drawn


def test_a_run_that_follows_nothing_says_what_it_needs() -> None:
    with streamdet.Run(STREET, settings={"flow.max_frames": 2}) as run:
        assert "--track at its start" in str(run.shapes(STREET)["obstacle"])
        with pytest.raises(ConfigError, match="need a run that counts"):
            run.change_shapes(STREET, lines=GATE)
        with pytest.raises(ConfigError, match="started without a file"):
            run.save_shapes(STREET)
        assert sum(1 for _ in run) == 2


def test_from_python_a_line_counts_from_the_next_frame_on() -> None:
    settings = {"track.kind": "bytetrack", "flow.max_frames": 40}
    with streamdet.Run(STREET, settings=settings) as run:
        results = iter(run)
        assert next(results).counting is None
        run.change_shapes(STREET, lines=GATE)
        assert run.change_shapes(STREET, zones={"all": "0,0,1,0,1,1,0,1"})["lines"] == GATE
        last = list(results)[-1]
    assert last.counting is not None
    assert [*(line.name for line in last.counting.lines), *(zone.name for zone in last.counting.zones)] == [
        "gate",
        "all",
    ]


def test_the_yaml_to_copy_keeps_letters_and_names_that_differ_by_a_blank_are_not_two() -> None:
    named = drawn(lines={"門 é": "0,0,1,1"})
    assert "門 é: 0,0,1,1" in as_yaml(named)
    assert config_of_text(as_yaml(named), "x").lines == named.lines
    with pytest.raises(ConfigError, match=r"lines\.a  must be a name of .* does not end with a blank, got 'a '$"):
        shapes_of({"lines": {"a": "0,0,1,1", "a ": "0,0,1,1"}, "zones": {}}, "the request")
