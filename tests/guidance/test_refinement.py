"""The surrogate is refined where it was wrong, and keeps its answers where it was trained."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from bige_opensim.guidance.generated import Rehearsal
from bige_opensim.guidance.refinement import Refinement
from bige_opensim.motion import Motion

from .conftest import stilt_squat
from .test_search import FRAMES, references

pytestmark = pytest.mark.usefixtures("unchecked_shapes")  # what stands for a search here is none
MUSCLES = ("vasmed_r", "vasmed_l")


class Knees(torch.nn.Module):
    """Vastus medialis over the knee's angle: a slope, and another one beyond 110 degrees."""

    def __init__(self) -> None:
        super().__init__()
        self.slopes = torch.nn.Parameter(torch.tensor([0.3, 0.0]))
        self.channels = SimpleNamespace(muscles=MUSCLES)

    def forward(self, q: Tensor) -> Tensor:
        knee = q[..., [5, 6]].float()
        return self.slopes[0] * knee + self.slopes[1] * (knee - 1.92).clamp(min=0.0)


def prepared() -> SimpleNamespace:
    surrogate = Knees()
    known = references()
    return SimpleNamespace(
        references=known[0],
        durations=known[1],
        networks=SimpleNamespace(surrogate=surrogate),
        by_surrogate=lambda q, duration: surrogate(q),
    )


def simulated(q: np.ndarray) -> Rehearsal:
    """Deeper than any training motion the muscle takes more than the slope says."""
    knee = q[:, [5, 6]]
    time = np.linspace(0.0, 2.0, FRAMES)
    return Rehearsal({}, {}, Motion(time, 0.3 * knee + 0.04 * np.maximum(knee - 1.92, 0.0), MUSCLES), ("vasti",), ())


def test_what_was_simulated_is_learned_and_what_was_known_is_kept() -> None:
    search = prepared()
    before = search.by_surrogate(search.references, search.durations).detach()
    angle = torch.full((4,), 2.6, dtype=torch.float64)
    q = stilt_squat(angle, angle, 0.0 * angle, FRAMES).numpy()
    result = SimpleNamespace(motions=q, durations=np.full(4, 2.0))
    refinement = Refinement(search, rounds=2)
    for _ in range(3):
        refinement.learn(result, [simulated(x) for x in q])
    first, second = refinement.rounds
    assert (first.motions, second.motions) == (4, 8)
    assert first.after < 0.8 * first.gap
    assert second.after < first.after
    after = search.by_surrogate(search.references, search.durations).detach()
    assert float((after - before).abs().max()) < 0.01
    assert refinement.record()[0] == {"round": 1, **first._asdict()}


def test_motions_that_could_not_be_simulated_teach_nothing() -> None:
    refinement = Refinement(prepared(), rounds=1)
    nothing = Rehearsal({}, {}, None, (), ("not simulated",))
    result = SimpleNamespace(motions=np.zeros((1, FRAMES, 8)), durations=np.ones(1))
    assert not refinement.learn(result, [nothing, None])
    assert refinement.rounds == []
