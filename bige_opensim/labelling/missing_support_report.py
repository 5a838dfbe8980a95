"""What a label says of support that is missing, and of plates that carry another weight than the model's."""

from __future__ import annotations

from typing import Any

from bige_opensim.labelling.missing_support import WEIGHT_TOLERANCE, MissingSupport, SupportCheck
from bige_opensim.labelling.quality_gates import Gate, verdict


def sentence(intervals: tuple[MissingSupport, ...]) -> str:
    """One sentence for the status of a trial; empty where nothing is missing."""
    if not intervals:
        return ""
    total = sum(i.end_s - i.start_s for i in intervals)
    listed = ", ".join(f"{i.start_s:.2f} to {i.end_s:.2f} s" for i in intervals[:8]) + (
        ", ..." if len(intervals) > 8 else ""
    )
    peak = max(intervals, key=lambda i: i.peak_missing_bw)
    return (
        f"Something besides the feet carries up to {peak.peak_missing_bw:.2f} body weights ({peak.where}) in "
        f"{len(intervals)} stretch{'es' if len(intervals) > 1 else ''} of {total:.1f} s together: {listed}."
    )


def explained(status: str, reason: str, support: SupportCheck, elsewhere: dict[str, Gate]) -> str:
    """The reason of a trial's status where support is missing, with the verdict on the other frames."""
    if not support.intervals:
        return reason
    if status == "passed":
        return f"{reason}. {sentence(support.intervals)}"
    if not elsewhere:
        return f"{sentence(support.intervals)} No frame is left without them."
    rest_status, rest = verdict(elsewhere)
    without = "all quality gates pass." if rest_status == "passed" else rest
    return f"{sentence(support.intervals)} Without these frames: {without}"


def support_entry(support: SupportCheck, elsewhere: dict[str, Gate]) -> dict[str, Any]:
    """For label.json: the intervals, and the gates of the other frames where there are any intervals."""
    entry: dict[str, Any] = {"missing_support": [interval.as_dict() for interval in support.intervals]}
    if support.intervals:
        entry["gates_without_missing_support"] = {name: gate.as_dict() for name, gate in elsewhere.items()}
    return entry


def weight_notes(support: SupportCheck | None, mass_kg: float) -> tuple[str, ...]:
    """A note where plates carry another weight than the model's."""
    if support is None or support.carried is None or abs(support.carried - 1.0) <= WEIGHT_TOLERANCE:
        return ()
    return (
        f"The plates carry {support.carried * mass_kg:.1f} kg where the model has {mass_kg:.1f} kg: scale the "
        f"model (bige scale, --mass {support.carried * mass_kg:.1f}), declare what is carried (--load), or check the "
        "plates' zero.",
    )
