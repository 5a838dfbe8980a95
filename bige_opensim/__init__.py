"""Biomechanics-informed generation of exercise motions, labelled and verified by OpenSim.

    import bige_opensim as bige

    session = bige.sample_session()
    motion = bige.read_motion(session.motion, model=session.model)
    label = bige.label(motion, model=session.model, solver="fast")
    label.activations, label.passed, label.reason

Results are in memory first, and files by `save`; tables are pandas DataFrames with time (s) as index and OpenSim's
names as columns; inside are radians, metres, seconds, newtons and N·m. A setting that is none of its values raises at
once and names them.

Names listed in `__all__` are stable: within a minor version they keep their arguments and results. Everything else is
private, and may change from one version to the next.

Importing the package is light: torch, opensim, pandas and matplotlib are loaded by the functions that need them, and
nothing outside this package is changed by it: OpenSim's logger, torch's threads and the working directory stay as they
are.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bige_opensim.provenance import __version__ as __version__

if TYPE_CHECKING:
    from bige_opensim.guidance.edited import Edited
    from bige_opensim.guidance.generated import Generated
    from bige_opensim.labelling.label import Label
    from bige_opensim.motion import Motion
    from bige_opensim.validation.certificate import Certificate
    from bige_opensim.workflows.compare import compare
    from bige_opensim.workflows.dataset import repetitions
    from bige_opensim.workflows.edit import edit, edit_series
    from bige_opensim.workflows.export import export
    from bige_opensim.workflows.generate import generate
    from bige_opensim.workflows.label import label, read_motion
    from bige_opensim.workflows.label_sessions import label_sessions
    from bige_opensim.workflows.norms import norms
    from bige_opensim.workflows.objectives import check_objective, objectives
    from bige_opensim.workflows.predict import Prediction, predict
    from bige_opensim.workflows.report import report
    from bige_opensim.workflows.sample import sample_motion, sample_session
    from bige_opensim.workflows.solve import solve
    from bige_opensim.workflows.train import load_generator, load_surrogate, train_generator, train_surrogate
    from bige_opensim.workflows.validate import validate
    from bige_opensim.workflows.view import view

__all__ = [
    "Certificate",
    "Edited",
    "Generated",
    "Label",
    "Motion",
    "Prediction",
    "check_objective",
    "compare",
    "edit",
    "edit_series",
    "export",
    "generate",
    "label",
    "label_sessions",
    "load_generator",
    "load_surrogate",
    "norms",
    "objectives",
    "predict",
    "read_motion",
    "repetitions",
    "report",
    "sample_motion",
    "sample_session",
    "solve",
    "train_generator",
    "train_surrogate",
    "validate",
    "view",
]

_MODULES = {
    "Certificate": "validation.certificate",
    "Edited": "guidance.edited",
    "Generated": "guidance.generated",
    "Label": "labelling.label",
    "Motion": "motion",
    "Prediction": "workflows.predict",
    "check_objective": "workflows.objectives",
    "compare": "workflows.compare",
    "edit": "workflows.edit",
    "edit_series": "workflows.edit",
    "export": "workflows.export",
    "generate": "workflows.generate",
    "label": "workflows.label",
    "label_sessions": "workflows.label_sessions",
    "load_generator": "workflows.train",
    "load_surrogate": "workflows.train",
    "norms": "workflows.norms",
    "objectives": "workflows.objectives",
    "predict": "workflows.predict",
    "read_motion": "workflows.label",
    "repetitions": "workflows.dataset",
    "report": "workflows.report",
    "sample_motion": "workflows.sample",
    "sample_session": "workflows.sample",
    "solve": "workflows.solve",
    "train_generator": "workflows.train",
    "train_surrogate": "workflows.train",
    "validate": "workflows.validate",
    "view": "workflows.view",
}
"""Where every public name lives; loaded when it is first asked for (PEP 562)."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
