"""Count tally: results → what the lines and zones of each source have counted."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType

from pipeline.picture.counting.counts import Counts
from pipeline.picture.detections import Result


class CountTally:
    """Sees every result that goes to the outputs, once; `counts_by_source` may be read from any thread meanwhile.

    source_of_part: the source of a flow by the files that it reads one after another, whose names frames bear.
    """

    def __init__(self, source_of_part: Mapping[str, str] = MappingProxyType({})) -> None:
        self._source_of_part = source_of_part
        self._lock = threading.Lock()
        self._counts: dict[str, Counts] = {}

    def __call__(self, result: Result) -> None:
        """Keep the counts of one result."""
        if result.counting is not None:
            source_id = result.frame.source_id
            with self._lock:
                self._counts[self._source_of_part.get(source_id, source_id)] = result.counting

    def counts_by_source(self) -> Mapping[str, Counts]:
        """Of each source that counts and gave a result."""
        with self._lock:
            return dict(self._counts)
