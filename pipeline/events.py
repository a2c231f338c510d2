"""Events: what happened to a run, and its numbers → fields of a log record, which `--log-format json` writes.

    logger.info("%s: finished", file, extra=event("segment_finished", file=file, frames=250))

Text logs show the message alone. An event is something that a person who looks after cameras wants to know of; a frame
is none.
"""

from __future__ import annotations

from collections.abc import Mapping

EVENT, FIELDS = "streamdet_event", "streamdet_fields"  # attributes of a log record


def event(name: str, **fields: object) -> Mapping[str, object]:
    """The `extra` of a logging call. fields: JSON values, addresses masked by whoever writes them."""
    return {EVENT: name, FIELDS: fields}
