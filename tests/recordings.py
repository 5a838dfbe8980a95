"""Where the real models and recordings lie below the folder of the fixture `shared_data`."""

from functools import cache
from pathlib import Path

from bige_opensim.io.storage import read_coordinates
from bige_opensim.labelling.kinematics import Prepared, prepare
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables

_LAB = "data/opencap_lab/OpenCapData_{}/OpenSimData/Model/{}.osim"
_LAI = "LaiArnoldModified2017_poly_withArms_weldHand_scaled"
MODELS = {
    "LaiUhlrich2022": "models/LaiUhlrich2022.osim",
    "Rajagopal2015": "models/Rajagopal2015_ViconPlugInGait.osim",
    "rajagopal_dls": "data/rajagopal_dls/final.osim",
    "subject2": _LAB.format("subject2", "LaiArnoldModified2017_contacts_scaled"),
    "subject5": _LAB.format("subject5", _LAI),
    "subject6": _LAB.format("subject6", _LAI),
    "phone01": _LAB.format("phone01", "LaiUhlrich2022_scaled"),
}


@cache
def tables_of(path: Path) -> SkeletonTables:
    """Compiled once in a test run, from the code as it is."""
    return compile_skeleton(path, cache=False)


def motion_path(shared: Path, who: str, trial: str) -> Path:
    return shared / f"data/opencap_lab/OpenCapData_{who}/OpenSimData/Kinematics/{trial}.mot"


def forces_path(shared: Path, who: str, trial: str) -> Path:
    return shared / f"data/opencap_lab/OpenCapData_{who}/ForceData/{trial}_forces.mot"


def recorded(
    shared: Path,
    who: str,
    trial: str,
    cutoff_hz: float = 6.0,
    start: float | None = None,
    end: float | None = None,
) -> tuple[OsimModel, Skeleton, Prepared]:
    """Model, skeleton and filtered motion of a recording, cut after filtering."""
    model = load(shared / MODELS[who])
    skeleton = Skeleton(tables_of(shared / MODELS[who]))
    motion = read_coordinates(
        motion_path(shared, who, trial),
        rotational=model.rotational,
        known=[c.name for c in model.coordinates],
    ).motion
    return model, skeleton, prepare(model, skeleton, motion, cutoff_hz).between(start, end)
