from pathlib import Path

import pytest

from bige_opensim.guidance.objective import Objective
from bige_opensim.guidance.objective_text import objective_text

PRESETS = Path(__file__).resolve().parents[2] / "pipelines" / "objectives"


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.toml")), ids=lambda p: p.stem)
def test_a_shipped_objective_reads_the_same_from_its_text(path: Path, tmp_path: Path) -> None:
    objective = Objective.load(path)
    copy = tmp_path / "copy.toml"
    copy.write_text(objective_text(objective), encoding="utf-8")
    again = Objective.load(copy)
    assert (again.name, again.description, again.terms) == (objective.name, objective.description, objective.terms)
    assert (again.settings, again.cost) == (objective.settings, objective.cost)


def test_every_kind_of_term_reads_the_same_from_its_text(tmp_path: Path) -> None:
    text = """
name = "All \\"kinds\\" µ"
[[term]]
name = "a"
quantity = "activation"
of = ["vas*_r", "soleus_l"]
at = 0.5
equals = 0.3
tolerance = 0.02
[[term]]
quantity = "depth"
stat = "peak"
between = [0.1, 0.4]
scale = 0.01
weight = 3
hard = true
[[term]]
quantity = "velocity"
stat = "rms"
minimise = true
[[term]]
quantity = "coordinate"
of = ["knee_angle_r"]
stat = "range"
at_least = 30
unit = "deg"
[[term]]
quantity = "duration"
at_most = 4
[effort]
exponent = 3
[search]
iterations = 7
beta = 0.5
"""
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(text, encoding="utf-8")
    objective = Objective.load(first)
    second.write_text(objective_text(objective), encoding="utf-8")
    again = Objective.load(second)
    assert (again.name, again.terms, again.settings, again.cost) == (
        objective.name,
        objective.terms,
        objective.settings,
        objective.cost,
    )
