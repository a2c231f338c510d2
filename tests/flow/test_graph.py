"""Flow: a graph that can be printed, and that refuses settings that cannot work."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from mypy import api as mypy_api

from pipeline.errors import FlowError
from pipeline.flow.graph import Flow
from pipeline.testing import CollectingSink, FunctionStage, ItemSource
from tools.figures import ROOT


def echo() -> FunctionStage[int, int]:
    return FunctionStage(lambda item: [item])


def test_a_flow_prints_its_graph() -> None:
    flow = (
        Flow.from_sources(ItemSource([1], source_id="street.mp4"), ItemSource([2], source_id="0", is_live=True))
        .then(echo(), name="detect", workers=2)
        .then_per_source(lambda _: echo(), name="track")
        .to(CollectingSink(), name="out.jsonl", only_sources=["0"])
        .then(echo(), name="render", capacity=1)
        .to(CollectingSink(), name="out.mp4", overflow="block")
    )
    assert str(flow) == textwrap.dedent("""\
        street.mp4 (recorded)
        0 (live)
        └─▶ detect  [2 workers; queue 2, live: newest, recorded: all]
            └─▶ track  [one for each source; queue 2, live: newest, recorded: all]
                ├─▶ out.jsonl  [of 0; queue 2, live: newest, recorded: all]
                └─▶ render  [queue 1, live: newest, recorded: all]
                    └─▶ out.mp4  [queue 2, blocks]""")


def test_each_step_gives_a_new_flow() -> None:
    flow = Flow.from_sources(ItemSource([1]))
    flow.then(echo())
    assert len(flow.nodes) == 1


def test_names_come_from_the_class_and_stay_unique() -> None:
    flow = Flow.from_sources(ItemSource([1])).to(CollectingSink()).to(CollectingSink())
    assert [node.name for node in flow.nodes] == ["items", "collecting-sink", "collecting-sink-2"]


def test_a_node_has_the_role_that_it_is_given_or_its_name() -> None:
    flow = Flow.from_sources(ItemSource([1], source_id="street.mp4")).then(echo(), name="detect")
    flow = flow.to(CollectingSink(), name="record out.mp4", role="record")
    assert [node.role for node in flow.nodes] == ["source", "detect", "record"]


def test_a_branch_leaves_the_tip_where_it_is() -> None:
    flow = Flow.from_sources(ItemSource([1])).then(echo(), name="nms")
    flow = flow.branch(lambda results: results.then(echo(), name="render").to(CollectingSink(), name="record"))
    flow = flow.to(CollectingSink(), name="jsonl")
    assert [(node.name, node.upstream) for node in flow.nodes[2:]] == [
        ("render", ("nms",)),
        ("record", ("render",)),
        ("jsonl", ("nms",)),
    ]


def test_a_flow_that_is_never_run_closes_its_parts() -> None:
    source, stage, sink = ItemSource([1]), echo(), CollectingSink[int]()
    flow = Flow.from_sources(source).then(stage).then_per_source(lambda _: echo(), name="track").to(sink)
    flow.close()
    assert [source.num_closed, stage.num_closed, sink.num_closed] == [1, 1, 1]


def test_settings_that_cannot_work_are_refused_with_the_reason() -> None:
    flow = Flow.from_sources(ItemSource([1]))
    stage = echo()
    with pytest.raises(FlowError, match="at least one source"):
        Flow.from_sources()
    with pytest.raises(FlowError, match="its own source_id"):
        Flow.from_sources(ItemSource([1]), ItemSource([2]))
    with pytest.raises(FlowError, match="workers must be at least 1, got 0"):
        flow.then(stage, workers=0)
    with pytest.raises(FlowError, match="holds items must have one worker and all items"):
        flow.then(stage, workers=2, holds=True)
    with pytest.raises(FlowError, match=r"must name sources of the flow, got \['door'\]"):
        flow.to(CollectingSink(), only_sources=["door"])
    with pytest.raises(FlowError, match="'detect' twice"):
        flow.then(stage, name="detect").then(stage, name="detect")


def test_the_type_checker_refuses_stages_in_a_wrong_order(tmp_path: Path) -> None:
    program = tmp_path / "wrong.py"
    program.write_text(
        textwrap.dedent("""\
            from pipeline.flow.graph import Flow
            from pipeline.testing import CollectingSink, FunctionStage, ItemSource

            spell: FunctionStage[int, str] = FunctionStage(lambda number: [str(number)])
            measure: FunctionStage[str, int] = FunctionStage(lambda text: [len(text)])
            numbers = Flow.from_sources(ItemSource([1, 2]))
            right: Flow[int] = numbers.then(spell).then(measure)
            numbers.then(measure)
            texts: CollectingSink[str] = CollectingSink()
            numbers.to(texts)
            """)
    )
    cache = ROOT / ".mypy_cache"  # that of the check of types, because to read numpy's stubs takes half a minute
    output, _, status = mypy_api.run(["--strict", "--cache-dir", str(cache), str(program)])
    assert status == 1
    refused = {int(line.split(":")[1]) for line in output.splitlines() if ": error:" in line}
    assert refused == {8, 10}, output
