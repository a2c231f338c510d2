"""Opening abreast: several words → their sources; a camera that does not answer soon is tried while others run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from pipeline.errors import SourceError
from pipeline.masking import masked_address
from pipeline.sources.absent import AbsentSource, Opening
from pipeline.sources.kinds import kind_of
from pipeline.sources.options import SourceOptions
from pipeline.sources.source import FrameSource
from pipeline.sources.words import may_be_file

FIRST_WAIT_SECONDS = 2.0  # for the first answers of cameras, before the run starts without those that are away


def open_sources_abreast(
    words: Sequence[str],
    *,
    options: SourceOptions,
    open_one: Callable[[str], FrameSource],
    tries_refused: bool = False,
    first_wait_seconds: float = FIRST_WAIT_SECONDS,
) -> list[FrameSource]:
    """Open the sources that words mean; one that may come later, and does not answer soon, is tried while others run.

    open_one: opens a word.
    tries_refused: whether one that its server refuses, for a wrong password or path, is tried, too; otherwise it fails.
    first_wait_seconds: for which the first answers of all together are waited for; that of a web server is waited for
    until network.open_timeout_s, because a file there is not to be taken for a camera.
    Raises SourceError for what is not there and cannot come, SourceRefusedError where all are refused; those that are
    open are closed then.
    """
    openings = [
        Opening(partial(open_one, word), source_id=masked_address(word)) if kind_of(word).may_come_later else None
        for word in words
    ]
    deadline = time.monotonic() + first_wait_seconds
    sources: list[FrameSource] = []
    with ExitStack() as undo:
        for opening in openings:
            if opening is not None:
                undo.callback(opening.abandon)
        for word, opening in zip(words, openings, strict=True):
            if opening is None:
                source = open_one(word)
            else:
                source = _answered(opening, until_seconds=None if may_be_file(word) else deadline) or AbsentSource(
                    masked_address(word),
                    partial(open_one, word),
                    opening=opening,
                    patience_seconds=options.network.reconnect_s,
                    tries_refused=tries_refused,
                )
            undo.callback(source.close)
            sources.append(source)
        refusals = [opening.refusal for opening in openings if opening is not None]
        if refusals and refusals[0] and all(refusals) and len(refusals) == len(words) and not tries_refused:
            raise refusals[0]
        undo.pop_all()
    return sources


def _answered(opening: Opening, *, until_seconds: float | None) -> FrameSource | None:
    """The source, if it is open by then; None: it takes longer, or failed."""
    if until_seconds is not None and not opening.wait(max(0.0, until_seconds - time.monotonic())):
        return None
    try:
        return opening.result()
    except SourceError:
        return None  # it is tried again, and says why
