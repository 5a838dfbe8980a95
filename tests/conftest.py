import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
import pytest
import torch

from bige_opensim.osim.messages import only_errors

torch.set_num_threads(1)
only_errors()

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--unchecked-shapes",
        action="store_true",
        help="do not check the annotated shapes of bige_opensim's arrays at run time (for timings)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("unchecked_shapes"):
        jaxtyping.install_import_hook("bige_opensim", "shape_checks.checked")


NEEDS_OPENSIM = re.compile(
    r"^\s*(?:from|import) (?:opensim|small_models|recordings|front_door|bige_opensim\.(?:osim|sessions|doctor|labelling"
    r"|validation|synthesis|reporting|viewer|exporting|workflows|pipeline|app\.(?:tasks|objective_check)))\b",
    re.MULTILINE,
)


@cache
def needs_opensim(path: Path) -> bool:
    """Whether a module of tests imports opensim, or rooms or helpers that do."""
    return NEEDS_OPENSIM.search(path.read_text(encoding="utf-8")) is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they need: `data` the recordings beside the repository, `opensim` an installation of it."""
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("data")
        if needs_opensim(item.path):
            item.add_marker("opensim")


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """For tests that pass wrong shapes on purpose, to see the package's own message."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings and models beside the repository (`data/`, `models/`)."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"real recordings are not here: {SHARED / 'data'} does not exist")
    return SHARED


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models compiled by these tests, and by the worker processes that they start, are kept apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def fast() -> Any:
    """The fast solver with OpenSim's own paths and no audit: a second for a small biped."""
    from bige_opensim.labelling.request import LabelSettings

    return LabelSettings(solver="fast", geometry="exact", audit=0.0)


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., Any]:
    """Requests for squats of a small biped below `tmp_path`; fields can be replaced."""
    from small_models import biped, write_squat

    from bige_opensim.labelling.request import TrialRequest

    model = biped(tmp_path / "biped.osim")

    def make(trial: str = "squat", **fields: object) -> TrialRequest:
        motion = tmp_path / f"{trial}.mot"
        if not motion.exists():
            write_squat(model, motion)
        out = tmp_path / "labels"
        plain = TrialRequest(model, motion, out / trial, out, session="s1", subject="subject", trial=trial)
        return replace(plain, **fields)  # type: ignore[arg-type]

    return make
