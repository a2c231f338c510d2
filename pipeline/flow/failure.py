"""Failures: errors of a run's threads → the first of them, which says where it happened, raised to the caller once."""

from __future__ import annotations

import logging
import threading

from pipeline.flow.graph import Node
from pipeline.flow.ledger import Ticket

logger = logging.getLogger(__name__)


class FirstFailure:
    """Keeps the first error of a run and logs the others; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._was_raised = False

    def keep(self, error: BaseException, node: Node, ticket: Ticket | None) -> None:
        """Keep an error, with a note that names the node and, where one is to blame, the frame."""
        where = f"in {node.kind} {node.name!r}"
        if ticket is not None:
            where += f", frame {ticket.index} of {ticket.source_id}"
        with self._lock:
            is_first = self._error is None
            if is_first:
                error.add_note(where)
                self._error = error
        if not is_first:
            logger.warning("a further failure %s: %s", where, error)

    def has_happened(self) -> bool:
        """Whether anything has failed."""
        return self._error is not None

    def raise_once(self) -> None:
        """Raise the first error to the caller, unless it was raised before."""
        if self._error is not None and not self._was_raised:
            self._was_raised = True
            raise self._error
