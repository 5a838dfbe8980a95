"""Examine one case after another; models are read once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bige_opensim.doctor.cases import LOADS, MARKERS, MODEL, Case
from bige_opensim.doctor.coordinate_checks import (
    check_coordinates,
    continuous,
    coordinates_in,
    motion_of,
    unit_of,
)
from bige_opensim.doctor.findings import Finding, worst_first
from bige_opensim.doctor.force_checks import (
    check_height_of_plates,
    check_loads,
    check_named_sides,
    check_plates,
    check_weight,
    plates_in,
)
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.doctor.marker_checks import check_markers, check_trc_text
from bige_opensim.doctor.model_checks import check_model
from bige_opensim.doctor.muscle_checks import FibreLengths, check_muscles
from bige_opensim.doctor.person_checks import Stated, check_stated
from bige_opensim.doctor.raw_storage import read_raw
from bige_opensim.doctor.raw_trc import read_raw_trc
from bige_opensim.doctor.session_checks import check_session
from bige_opensim.doctor.storage_checks import Table, check_table, cleaned
from bige_opensim.io.external_loads import ExternalLoadsError, read_external_loads
from bige_opensim.io.storage import StorageError
from bige_opensim.io.trc import TrcError
from bige_opensim.motion import Motion


class Examiner:
    """Examines cases and keeps the models that it has read."""

    def __init__(self) -> None:
        self._models: dict[Path, KnownModel] = {}
        self._fibres: dict[Path, FibreLengths] = {}

    def examine(self, case: Case) -> list[Finding]:
        """Everything found in one case, worst first; a case that cannot be read is a finding."""
        if case.path.is_dir():
            return worst_first(self._session(case))
        suffix = case.path.suffix.lower()
        if suffix == MODEL:
            return worst_first(check_model(self._known(case.path), _stated(case)))
        examine = {MARKERS: self._markers, LOADS: self._loads}.get(suffix, self._storage)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return worst_first(examine(case))
        except (StorageError, TrcError, ExternalLoadsError) as error:
            return [_unreadable(case.path, error)]

    def known(self, case: Case) -> KnownModel | None:
        """The model of a case, or None where there is none that can be read."""
        if case.model is None:
            return None
        model = self._known(case.model)
        return model if model.osim is not None else None

    def motion(self, path: Path | None, model: KnownModel | None) -> Motion | None:
        """Coordinates of a file in radians, continuous, or None where it holds none that can be read."""
        if path is None:
            return None
        try:
            table = cleaned(read_raw(path))
        except StorageError:
            return None
        chosen = coordinates_in(table, model) if table is not None else None
        if table is None or chosen is None:
            return None
        in_degrees, _ = unit_of(table, chosen)
        if in_degrees is None:
            return None
        return continuous(motion_of(table, chosen, in_degrees), chosen.turns, model)

    def _known(self, path: Path) -> KnownModel:
        key = path.resolve()
        if key not in self._models:
            self._models[key] = KnownModel(path)
        return self._models[key]

    def _session(self, case: Case) -> list[Finding]:
        assert case.session is not None
        found = check_session(case.session, model_given=case.model is not None)
        model = self.known(case)
        return found if model is None else [*found, *check_stated(model, _stated(case))]

    def _markers(self, case: Case) -> list[Finding]:
        raw = read_raw_trc(case.path)
        found = check_trc_text(raw)
        try:
            return [*found, *check_markers(case.path, raw.markers_in_order())]
        except TrcError as error:
            return [*found, _unreadable(case.path, error)]

    def _storage(self, case: Case) -> list[Finding]:
        raw = read_raw(case.path)
        found, table = check_table(raw), cleaned(raw)
        if table is None:
            sentence = f"Too few of its {len(raw.time)} rows can be used; only the header and the times were checked."
            return [*found, Finding(case.path, "", "warning", "too-short", sentence, "Repair or export it again.")]
        model = self.known(case)
        plates = plates_in(table)
        if plates:
            return [*found, *check_plates(table, plates), *self._plates(case, table)]
        chosen = coordinates_in(table, model)
        if chosen is None:
            return found
        in_degrees, fault = unit_of(table, chosen)
        found += [fault] if fault is not None else []
        found += self._model_missing(case, model)
        if in_degrees is None:
            return found
        about, motion = check_coordinates(table, chosen, in_degrees, model)
        return [*found, *about, *self._muscles(case.path, motion, model)]

    def _model_missing(self, case: Case, model: KnownModel | None) -> list[Finding]:
        if model is not None:
            return []
        if case.model is not None:
            sentence = f"Its model cannot be read: {self._known(case.model).fault}"
            remedy = "Columns, limits and muscles were not checked."
            return [Finding(case.path, "", "warning", "no-model", sentence, remedy)]
        sentence = "No model is known for this motion; columns, limits and muscles were not checked."
        return [Finding(case.path, "", "note", "no-model", sentence, "Give it with --model.")]

    def _muscles(self, path: Path, motion: Motion, model: KnownModel | None) -> list[Finding]:
        if model is None or model.skeleton is None or model.osim is None or not model.osim.muscle_names:
            return []
        if not set(model.coordinates) & set(motion.names):
            return []
        key = model.path.resolve()
        if key not in self._fibres:
            self._fibres[key] = FibreLengths(model)
        return check_muscles(path, motion, model, self._fibres[key])

    def _plates(self, case: Case, table: Table) -> list[Finding]:
        """Plates against the motion of the trial and the person's mass."""
        model, plates = self.known(case), plates_in(table)
        found: list[Finding] = []
        if case.session is not None and case.session.mass_kg is not None:
            found += check_weight(table, plates, case.session.mass_kg, "sessionMetadata.yaml")
        elif model is not None and model.osim is not None:
            found += check_weight(table, plates, model.osim.mass_kg, model.path.name)
        motion = self.motion(case.motion, model)
        if motion is not None and model is not None and model.has_feet():
            found += check_named_sides(table, plates, motion, model)
            found += check_height_of_plates(table, plates, motion, model)
        return found

    def _loads(self, case: Case) -> list[Finding]:
        loads, model = read_external_loads(case.path), self.known(case)
        table = cleaned(read_raw(loads.datafile))
        if table is None:
            sentence = f"{loads.datafile.name} has too few rows that can be read."
            return [Finding(case.path, "", "error", "unreadable", sentence, "Repair the data file first.")]
        return check_loads(loads, table, self.motion(case.motion, model), model)


def _stated(case: Case) -> Stated:
    if case.session is None:
        return Stated()
    return Stated(case.session.mass_kg, case.session.height_m)


def _unreadable(path: Path, error: Exception) -> Finding:
    text = str(error).removeprefix(f"{path}: ")
    return Finding(path, "", "error", "unreadable", text[:1].upper() + text[1:], "")
