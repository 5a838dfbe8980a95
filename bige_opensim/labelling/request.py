"""What to label and how: a trial, the settings, and whether a finished label was made from the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bige_opensim.doctor.person_checks import Stated
from bige_opensim.io.documents import read_json
from bige_opensim.io.external_loads import read_external_loads
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.labelling.chair import HANDS_ON, Declared, check_chair
from bige_opensim.labelling.cutoff import AUTO, Cutoff
from bige_opensim.labelling.deciding_frames import Asked
from bige_opensim.labelling.whole_body_shift import ConsistencySettings
from bige_opensim.motion import Motion
from bige_opensim.physics.carried_loads import CarriedLoad
from bige_opensim.physics.contact import ContactSettings
from bige_opensim.physics.effort_cost import EffortCost, EffortCostError
from bige_opensim.provenance import __version__
from bige_opensim.settings import in_range, one_of, usable_device

SOLVERS = ("opensim", "fast")
GEOMETRIES = ("polynomial", "exact")
GROUND_FORCES = ("estimated", "measured", "auto", "none")
UNITS = ("degrees", "radians")

FROM_PLATES = ("measured", "auto")
"""Values of `grf` for which the force file of a trial is read."""

FEWEST_DRAWS, MOST_DRAWS = 20, 10_000
"""Fewer draws tell no 5 %, more tell nothing new."""

DECIDING = "deciding"
"""In fingerprints of labels of which OpenSim solved only the frames that decide something."""

Report = Callable[[str, float], None]
"""Called with a step's name and the share of it that is done."""


@dataclass(frozen=True)
class LabelSettings:
    """How to label.

    solver: opensim or fast; geometry: muscle paths of the fast solver, polynomial or exact (OpenSim's own); audit:
    share of frames that OpenSim solves again to check the fast solver, drawn over the trials of a session and model,
    at least 20 of them, 0 for none; grf: estimated, measured (from the trial's force file), auto (measured where that
    can be used, else estimated) or none. External loads of a trial are applied whatever `grf` says. allow_missing:
    coordinates that the file lacks keep the model's default, even if much of the body hangs on them. cost: what effort
    costs; of it OpenSim's solver knows the exponent only. residual_reduction: correct the person's body from all of the
    person's trials first (`residual_reduction`). chair: "auto", or the height of a seat above the ground in m; None for
    none. cutoff_hz: low-pass of coordinates and measured forces, 0 for none, "auto" for that of residual analysis
    (`cutoff`). hands: "rail" or "knees", where hands carry; None where they do not. calves: thighs rest on calves at
    the bottom of a deep squat. device: of the fast solver, as torch names it. load: what the person carries.
    uncertainty: draws of body and motion from which bands are found (`uncertainty`), 0 for none.

    Raises
    ------
    SettingError
        A value that is not one of its choices, or a number that cannot be.
    EffortCostError
        OpenSim's solver is asked for a cost that it does not have.

    """

    solver: str = "opensim"
    geometry: str = "polynomial"
    audit: float = 0.002
    grf: str = "estimated"
    cutoff_hz: Cutoff = 6.0
    start: float | None = None
    end: float | None = None
    units: str | None = None
    allow_missing: bool = False
    contact: ContactSettings = field(default_factory=ContactSettings)
    consistency: ConsistencySettings | None = field(default_factory=ConsistencySettings)
    cost: EffortCost = field(default_factory=EffortCost)
    residual_reduction: bool = False
    chair: str | None = None
    hands: str | None = None
    calves: bool = False
    device: str = "cpu"
    load: tuple[CarriedLoad, ...] = ()
    uncertainty: int = 0

    def as_fingerprint(self) -> dict[str, Any]:
        """As JSON has it, without what is as in earlier versions, which did not have it: their labels stay."""
        settings = json.loads(json.dumps(asdict(self)))
        del settings["device"]  # changes who computes, not what
        if self.cost.usual:
            del settings["cost"]
        if not self.residual_reduction:
            del settings["residual_reduction"]
        for name in ("chair", "hands", "calves", "load", "uncertainty"):
            if not settings[name]:
                del settings[name]
        return settings

    def __post_init__(self) -> None:
        one_of("solver", self.solver, SOLVERS)
        one_of("geometry", self.geometry, GEOMETRIES)
        one_of("grf", self.grf, GROUND_FORCES)
        if self.units is not None:
            one_of("units", self.units, UNITS)
        check_chair(self.chair)
        usable_device(self.device)
        if self.hands is not None:
            one_of("hands", self.hands, HANDS_ON)
        in_range("audit", self.audit, "", 0.0, 1.0)
        if isinstance(self.cutoff_hz, str):
            one_of("cutoff_hz", self.cutoff_hz, (AUTO,))
        else:
            in_range("cutoff_hz", self.cutoff_hz, "Hz (0 for no filter)", 0.0, 1000.0)
        if self.uncertainty:
            in_range("uncertainty", self.uncertainty, "draws (0 for no bands)", FEWEST_DRAWS, MOST_DRAWS)
        if self.solver == "opensim" and self.cost.beyond_opensim:
            raise EffortCostError(
                "OpenSim's StaticOptimization has an exponent, but no weights of muscles and no passive fibre forces; "
                "use --solver fast for them."
            )

    @property
    def carried(self) -> Declared:
        """What is declared to carry besides the feet."""
        return Declared(self.chair, self.hands, self.calves)

    @property
    def audited(self) -> bool:
        """Whether OpenSim checks the labels; it has no passive fibre forces to check them with."""
        return self.solver == "fast" and self.audit > 0 and not self.cost.passive


@dataclass(frozen=True)
class TrialRequest:
    """One trial to label into the folder `out`; the model for static optimization goes to `model_folder`.

    `sessions` are folders laid out like OpenCap sessions that receive the activations, too. `synthetic` says that the
    motion is no recording of a person, which the label passes on. `stated` is what the session says of the person.
    `recorded` is the motion itself (rad, m) where it is in memory; `motion` is then only its name. `asked` is what a
    verdict asks of the label: with it, OpenSim's solver solves the frames that decide it (`deciding_frames`); without,
    every frame. `person_trials` are motions of the same person on the same model, this one among them, from which the
    body is corrected; this one alone where none are named. `carried` is what the session says of chair, hands
    and calves, `load` of what the person carries, where the settings say nothing.
    """

    model: Path
    motion: Path
    out: Path
    model_folder: Path
    session: str
    subject: str
    trial: str
    external_loads: Path | None = None
    sessions: tuple[Path, ...] = ()
    forces: Path | None = None
    synthetic: bool = False
    stated: Stated = field(default_factory=Stated)
    recorded: Motion | None = None
    asked: Asked | None = None
    person_trials: tuple[Path, ...] = ()
    carried: Declared = field(default_factory=Declared)
    load: str = ""

    def absolute(self) -> TrialRequest:
        """The same with absolute paths, which hold in other processes."""
        paths: dict[str, Any] = {n: value.absolute() for n, value in vars(self).items() if isinstance(value, Path)}
        sessions, trials = (tuple(p.absolute() for p in some) for some in (self.sessions, self.person_trials))
        return replace(self, **paths, sessions=sessions, person_trials=trials)

    @property
    def motion_sha256(self) -> str:
        """Hash of the motion."""
        return file_sha256(self.motion) if self.recorded is None else self.recorded.sha256

    def fingerprint(self, settings: LabelSettings) -> dict[str, Any]:
        """What a finished label was made from; the same fingerprint need not be labelled again."""
        files = {"model": self.model, "external_loads": self.external_loads}
        if self.external_loads is not None:
            files["forces"] = read_external_loads(self.external_loads).datafile
        elif settings.grf in FROM_PLATES:
            files["forces"] = self.forces
        hashes = {k: file_sha256(p) for k, p in files.items() if p is not None}
        hashes["motion"] = self.motion_sha256
        if settings.residual_reduction and self.person_trials:
            of_person = sorted(file_sha256(path) for path in self.person_trials)
            hashes["person"] = hashlib.sha256("".join(of_person).encode()).hexdigest()
        return {
            "files": hashes,
            "stated": [self.stated.mass_kg, self.stated.height_m],
            "settings": settings.as_fingerprint(),
            **({} if self.carried == Declared() else {"carried": asdict(self.carried)}),
            **({"load": self.load} if self.load else {}),
            **({} if self.asked is None else {"frames": DECIDING}),
            "bige_opensim": __version__,
        }


def person_of(model: Path) -> str:
    """Name for whoever a model belongs to, where no session says it: one model, one person."""
    digest = file_sha256(model) if model.is_file() else "missing"
    return f"{model.stem}-{digest[:8]}"


def finished_label(request: TrialRequest, settings: LabelSettings) -> dict[str, Any] | None:
    """The label that is already there, if it was made from the same files and settings.

    Where OpenSim solved every frame, whatever a verdict asks is decided; where it solved some, whoever asks has to see
    whether they decide it (`validation.whose_frames`).
    """
    path = request.out / "label.json"
    if not path.is_file():
        return None
    label = read_json(path)
    made, wanted = label.get("provenance", {}).get("fingerprint"), request.fingerprint(settings)
    every_frame = {name: value for name, value in wanted.items() if name != "frames"}
    return label if made in (wanted, every_frame) else None
