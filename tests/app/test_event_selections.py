"""Commands of --on whose event can never happen: refused before a run begins, by the kind of what they name."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.app.config.loading import load_config
from pipeline.app.event_selections import refuse_impossible_events
from pipeline.errors import ConfigError

GATE, YARD = {"lines": {"gate": "0,0.5,1,0.5"}}, {"zones": {"yard": "0,0,1,0,1,1"}}
LASTING = {"zones": {"yard": {"points": "0,0,1,0,1,1", "dwell_s": 3}}}
BOTH: dict[str, Any] = {**GATE, **YARD}
NEVER = "counting.dwell_s=null"


def check(selection: str, options: dict[str, Any], *settings: str, takes_shapes: bool = False) -> None:
    config = load_config(options={**options, "events.commands": {selection: "true"}}, settings=settings)
    refuse_impossible_events(config, takes_shapes=takes_shapes)


@pytest.mark.parametrize(
    ("selection", "options", "message"),
    [
        ("dwelt gate", BOTH, "--on 'dwelt gate' can never happen: gate is a line, and only a zone has dwelt; of a"),
        ("entered gate", GATE, "gate is a line, and only a zone has entered; of a line take crossed, or add a --zone"),
        ("count_changed gate in", GATE, "must name a line or zone of gate; count_changed has no direction in: leave"),
        ("left", GATE, "there are only lines, and only a zone has left"),
        ("crossed yard", BOTH, "yard is a zone, and only a line is crossed; of a zone take appeared, entered, dwelt"),
        ("crossed", YARD, "there are only zones, and only a line is crossed"),
        ("entered yard out", YARD, "entered has no direction out: leave it out"),
        ("crossed nope", BOTH, "must name a line or zone of gate, yard"),
        ("entered yrd", BOTH, "did you mean yard"),
        ("any", {}, "there is no line and no zone"),
    ],
)
def test_an_event_that_cannot_be_is_refused(selection: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        check(selection, options)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("selection", "options"),
    [
        ("any", GATE),
        ("crossed gate in", GATE),
        ("crossed", BOTH),
        ("dwelt yard", YARD),
        ("left yard out", YARD),
        ("crossed x", {**YARD, "sources": ({"url": "a.mp4", "lines": {"x": "0,0,1,1"}},)}),
        ("dwelt x", {"lines": {"x": "0,0,1,1"}, "sources": ({"url": "a.mp4", "zones": {"x": "0,0,1,0,1,1"}},)}),
    ],
)
def test_an_event_that_one_line_or_zone_can_have_is_let_through(selection: str, options: dict[str, Any]) -> None:
    check(selection, options)


def test_what_may_be_drawn_later_may_have_any_event_unless_it_is_named() -> None:
    check("crossed", YARD, takes_shapes=True)
    with pytest.raises(ConfigError, match="yard is a zone"):
        check("crossed yard", YARD, takes_shapes=True)


def test_dwelt_needs_a_time_of_the_run_or_of_the_zone() -> None:
    check("dwelt yard", LASTING, NEVER)
    with pytest.raises(ConfigError, match=r"counting\.dwell_s is null, and no such zone has dwell_s; set one of them"):
        check("dwelt yard", YARD, NEVER)
