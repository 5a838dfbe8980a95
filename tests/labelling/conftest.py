from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from small_models import biped, write_squat

from bige_opensim.labelling.request import LabelSettings, TrialRequest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models compiled by these tests, and by the worker processes that they start, are kept apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def fast() -> LabelSettings:
    """The fast solver with OpenSim's own paths and no audit: a second for a small biped."""
    return LabelSettings(solver="fast", geometry="exact", audit=0.0)


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., TrialRequest]:
    """Requests for squats of a small biped below `tmp_path`; fields can be replaced."""
    model = biped(tmp_path / "biped.osim")

    def make(trial: str = "squat", **fields: object) -> TrialRequest:
        motion = tmp_path / f"{trial}.mot"
        if not motion.exists():
            write_squat(model, motion)
        out = tmp_path / "labels"
        plain = TrialRequest(model, motion, out / trial, out, session="s1", subject="subject", trial=trial)
        return replace(plain, **fields)  # type: ignore[arg-type]

    return make
