"""Result kinds: the files that a fleet keeps its results in, by name; apart from what writes them, for a quick help."""

from __future__ import annotations

from typing import Literal, get_args

ResultKind = Literal["jsonl", "parquet"]
RESULT_KINDS: tuple[ResultKind, ...] = get_args(ResultKind)
