"""What a worker does with one trial: label it unless that is done, and put the activations into sessions."""

from __future__ import annotations

from typing import Any

from bige_opensim.labelling.label_trial import TrialError, label_trial
from bige_opensim.labelling.opencap_activations import place_in_sessions
from bige_opensim.labelling.request import LabelSettings, Report, TrialRequest, finished_label
from bige_opensim.osim.messages import only_errors


def label_and_place(request: TrialRequest, settings: LabelSettings, report: Report) -> dict[str, Any] | str:
    """Label a trial, or take the label that is there; return what `label.json` holds, or why there is no label.

    A worker may have been lost after it had put a label in place and before anyone heard of it.
    """
    label = label_that_is_there(request, settings)
    if label is not None:
        return label
    only_errors()
    try:
        label = label_trial(request, settings, report)
    except TrialError as error:
        return str(error)
    place_in_sessions(request)
    return label


def label_that_is_there(request: TrialRequest, settings: LabelSettings) -> dict[str, Any] | None:
    """The finished label of the same files and settings, its activations placed in the sessions; None without one."""
    try:
        label = finished_label(request, settings)
    except (OSError, ValueError):
        return None
    if label is not None:
        place_in_sessions(request)
    return label
