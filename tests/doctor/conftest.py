from collections.abc import Callable
from pathlib import Path

import pytest
from small_models import biped, squat
from small_person import Person

from bige_opensim.doctor.cases import find_cases
from bige_opensim.doctor.examination import Examiner
from bige_opensim.doctor.findings import Finding
from bige_opensim.doctor.known_model import KnownModel

Examine = Callable[..., list[Finding]]


@pytest.fixture(scope="session", autouse=True)
def keep_apart(own_cache: None) -> None:
    """Compiled models of these tests stay out of the user's cache."""


@pytest.fixture(scope="session")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    model = biped(tmp_path_factory.mktemp("person") / "biped.osim")
    return Person(model, KnownModel(model), squat(model, frames=90))


@pytest.fixture(scope="session")
def examiner() -> Examiner:
    return Examiner()


@pytest.fixture
def examine(examiner: Examiner, person: Person) -> Examine:
    def run(*paths: Path, model: Path | None = person.model) -> list[Finding]:
        return [finding for case in find_cases(paths, model) for finding in examiner.examine(case)]

    return run
