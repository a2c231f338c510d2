"""Failures: the one that is raised is the one that a caller must know of."""

from __future__ import annotations

import pytest

from pipeline.flow.failure import FirstFailure
from pipeline.flow.graph import Flow
from pipeline.testing import CollectingSink, ItemSource


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_reader_that_left_does_not_hide_another_failure(is_reversed: bool) -> None:
    nodes = Flow.from_sources(ItemSource([1])).to(CollectingSink(), name="lines").nodes
    failure = FirstFailure()
    errors = [BrokenPipeError("its reader left"), OSError("the disk is full")]
    for error in reversed(errors) if is_reversed else errors:
        failure.keep(error, nodes[-1], None, is_left_behind=True)
    with pytest.raises(OSError, match="the disk is full"):
        failure.raise_once()
