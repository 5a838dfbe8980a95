"""OpenSim is quiet while this package works, and speaks to the user again afterwards."""

import opensim
import pytest

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.osim.messages import quiet_opensim


@pytest.fixture
def level():
    before = opensim.Logger.getLevelString()
    yield opensim.Logger.setLevelString
    opensim.Logger.setLevelString(before)


@pytest.mark.parametrize("name", ["Warn", "Info", "Debug"])
def test_nothing_is_said_and_the_level_is_put_back_without_a_word(level, name, capfd):
    level(name)
    capfd.readouterr()
    with quiet_opensim():
        opensim.Model(str(built_in(MODEL)))
    assert "".join(capfd.readouterr()) == ""
    assert opensim.Logger.getLevelString() == name
    opensim.Model(str(built_in(MODEL)))
    said = "".join(capfd.readouterr())
    assert "vtp" in said, "the same model has something to say"


def test_the_level_is_put_back_after_an_error(level):
    level("Warn")
    with pytest.raises(ZeroDivisionError), quiet_opensim():
        _ = 1 / 0
    assert opensim.Logger.getLevelString() == "Warn"
