"""What a worker does: label a trial unless that is done, put its activations into sessions, and audit labels."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from bige_opensim.io.storage import write_whole
from bige_opensim.labelling.audit import AuditedCost, AuditedTrial, AuditSource, audit
from bige_opensim.labelling.label_files import LABEL, joints_of, model_of, record_text
from bige_opensim.labelling.label_trial import TrialError, label_into_folder
from bige_opensim.labelling.muscle_capacity import muscle_weights
from bige_opensim.labelling.opencap_activations import place_in_sessions
from bige_opensim.labelling.person_model import person_model
from bige_opensim.labelling.request import LabelSettings, Report, TrialRequest, finished_label
from bige_opensim.osim.messages import only_errors
from bige_opensim.physics.effort_cost import EffortCost


def label_and_place(
    request: TrialRequest, settings: LabelSettings, beside: Sequence[TrialRequest], report: Report
) -> dict[str, Any] | str:
    """Label a trial, or take the label that is there; return what `label.json` holds, or why there is no label.

    A worker may have been lost after it had put a label in place and before anyone heard of it. `beside` are the trials
    of the same model, this one included; the audit is left to when all of them are labelled.
    """
    there = label_that_is_there(request, settings)
    if there is not None:
        return there
    only_errors()
    try:
        label, text = label_into_folder(request, settings, report, beside, audited=False)
    except TrialError as error:
        return str(error)
    place_in_sessions(request, text)
    return dict(label.record)


def label_that_is_there(request: TrialRequest, settings: LabelSettings) -> dict[str, Any] | None:
    """The finished label of the same files and settings, its activations placed in the sessions; None without one."""
    try:
        label = finished_label(request, settings)
    except (OSError, ValueError):
        return None
    if label is not None:
        place_in_sessions(request)
    return label


def audit_labels(
    requests: Sequence[TrialRequest], share: float, cost: EffortCost, report: Report
) -> dict[str, Any] | str:
    """Audit the labels of trials of one model, and note in each `label.json` what was found; or say why it failed.

    A killed audit leaves some labels with the note and others without; the next run audits the others.
    """
    only_errors()
    report("audit by OpenSim", 0.0)
    try:
        person = person_model(requests[0].model)
        records = [json.loads((r.out / LABEL).read_text(encoding="utf-8")) for r in requests]
        joints, rotational = joints_of(person.model), person.model.rotational

        def source(request: TrialRequest, record: dict[str, Any]) -> AuditSource:
            return AuditSource(record["frames"], lambda: AuditedTrial.read(request.out, joints, rotational))

        trials = [source(*both) for both in zip(requests, records, strict=True)]
        stripped = model_of(requests[0].out)
        if stripped is None:
            return f"{requests[0].out}: the model that static optimization runs on is not there; label the trial again."
        weight = muscle_weights(person.model, cost)
        audited = AuditedCost(cost.exponent, None if weight is None else weight.numpy())
        found = audit(trials, stripped, share, audited)
    except (*TrialError, OSError) as error:
        return str(error)
    for request, record in zip(requests, records, strict=True):
        _note(request, record | {"audit": found})
    return found


def _note(request: TrialRequest, record: dict[str, Any]) -> None:
    """Write a label's record again, as old as it was: what was made from the label is not older for it."""
    path = request.out / LABEL
    made = path.stat().st_mtime_ns
    write_whole(path, record_text(record))
    os.utime(path, ns=(made, made))
