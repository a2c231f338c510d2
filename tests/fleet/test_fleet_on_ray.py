"""Fleet on Ray: workers, a node and the supervisor are lost, and no camera runs twice or is away for long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.mapping.cameras import CAMERA_FAULTS, Line, camera_outcomes, num_overlaps


def test_a_result_that_was_got_after_the_next_generation_began_is_an_overlap() -> None:
    lines = [Line(f"{name}/{number}", name, number, at) for name, number, at in (
        ("door", 1, 1.0), ("door", 1, 5.0), ("door", 2, 6.0), ("door", 3, 9.0),
        ("yard", 1, 5.5), ("yard", 2, 5.0), ("yard", 2, 6.0),
    )]  # fmt: skip
    assert num_overlaps(lines) == 1
    assert num_overlaps([line for line in lines if line.camera == "door"]) == 0
    late = Line("door/1", "door", 1, 9.5)
    assert num_overlaps([*lines, late]) == 2
    assert num_overlaps([]) == 0


@pytest.mark.skipif("STREAMDET_TEST_RAY" not in os.environ, reason="starts Ray, 90 s; set STREAMDET_TEST_RAY=1")
@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_cameras_run_again_soon_and_never_twice_whatever_is_lost(tmp_path: Path) -> None:
    """Each result is there once, at an instant at which no other worker had its camera."""
    pytest.importorskip("ray")
    from benchmarks.mapping.cluster import two_node_cluster

    with two_node_cluster() as engine:
        outcomes = list(camera_outcomes(engine, tmp_path))
    assert [outcome.fault for outcome in outcomes] == [fault.name for fault in CAMERA_FAULTS]
    assert [outcome for outcome in outcomes if not outcome.is_right] == []
