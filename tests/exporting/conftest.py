"""A label of a small biped's squat, without recordings of anybody."""

from pathlib import Path

import pytest
from small_models import biped, squat

import bige_opensim as bige
from bige_opensim.labelling.label import Label


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return biped(tmp_path_factory.mktemp("exporting") / "biped.osim")


@pytest.fixture(scope="session")
def label(small_model: Path) -> Label:
    return bige.label(squat(small_model), model=small_model, solver="fast", geometry="exact", audit=0.0)
