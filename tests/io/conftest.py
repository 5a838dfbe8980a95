"""OpenSim's own readers, quiet and without a log file."""

import pytest


@pytest.fixture(scope="module")
def osim():
    module = pytest.importorskip("opensim")
    module.Logger.removeFileSink()
    module.Logger.setLevelString("Error")
    return module
