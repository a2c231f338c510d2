"""Failures: errors of a run's threads → the first of them, which says where it happened, raised to the caller once."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Literal

from pipeline.events import event
from pipeline.flow.graph import Node
from pipeline.flow.ledger import Ticket

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OnError:
    """What a run does where a part fails.

    sink: a sink that fails is left behind and the others go on, or the run stops.
    frame: a frame on which a stage raises FrameError is counted as failed and the run goes on, or it stops.
    """

    sink: Literal["continue", "stop"] = "continue"
    frame: Literal["continue", "stop"] = "stop"


class FirstFailure:
    """Keeps the first error of a run and logs the others; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._was_raised = False
        self._num_of_frames = 0

    def keep(self, error: BaseException, node: Node, ticket: Ticket | None, *, is_left_behind: bool = False) -> None:
        """Keep an error, with a note that names the node and, where one is to blame, the frame.

        is_left_behind: the run goes on without the node, which is logged.
        """
        where = f"in {node.kind} {node.name!r}"
        if ticket is not None:
            where += f", frame {ticket.index} of {ticket.source_id}"
        with self._lock:
            is_first = self._error is None
            # A reader who left, as `head` does, may have had enough, and so must not hide what is a mistake.
            if is_first or (isinstance(self._error, BrokenPipeError) and not isinstance(error, BrokenPipeError)):
                error.add_note(where)
                self._error = error
        if is_left_behind:
            reason = str(error) or type(error).__name__
            logger.warning(
                "%s %s failed and was left behind: %s",
                node.kind,
                node.name,
                reason,
                extra=event(f"{node.kind}_lost", node=node.name, reason=reason),
            )
        elif not is_first:
            logger.warning("a further failure %s: %s", where, error)

    def keep_of_frame(self, error: BaseException, node: Node, ticket: Ticket) -> None:
        """Log an error that cost one frame; after the first few only each one that doubles their number."""
        with self._lock:
            self._num_of_frames += 1
            num = self._num_of_frames
        if num & (num - 1) == 0:
            more = "" if num == 1 else f" ({num} frames so far)"
            logger.warning("%s, frame %d of %s failed: %s%s", node.name, ticket.index, ticket.source_id, error, more)

    def has_happened(self) -> bool:
        """Whether anything has failed."""
        return self._error is not None

    def raise_once(self) -> None:
        """Raise the first error to the caller, unless it was raised before."""
        if self._error is not None and not self._was_raised:
            self._was_raised = True
            raise self._error
