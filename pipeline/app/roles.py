"""Roles: a node's role → the advice where it limits a run, and its colour in charts, from the tables that have both."""

from __future__ import annotations

from pipeline.app import outputs, stages
from pipeline.app.output import Output


def advice_for(role: str, limit: stages.Limit) -> str | None:
    """The change to make where nodes of a role limit a run; None for a role that is in no table."""
    if role not in _kinds():
        return None
    advice = _kinds()[role].advice
    return advice if isinstance(advice, str) else advice(limit)


def colours() -> dict[str, str]:
    """The colour of each role, #rrggbb, in the order of the flow."""
    return {role: kind.colour for role, kind in _kinds().items()}


def _kinds() -> dict[str, stages.StageKind | Output]:
    kinds: tuple[stages.StageKind | Output, ...] = (*stages.STAGES, *outputs.OUTPUTS)
    return {kind.role: kind for kind in kinds}
