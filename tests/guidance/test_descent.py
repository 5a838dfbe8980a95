"""Motions leave a descent when they have arrived, soon where little is left."""

import torch

from bige_opensim.guidance.descent import ARRIVED, LOOK, NEARLY, REDUCTIONS, Descent
from bige_opensim.guidance.language import SearchSettings

PATIENCE = 10


def test_a_motion_that_holds_and_has_little_left_leaves_where_its_loss_stays() -> None:
    """Five motions whose losses stay: as good as zero, little, much, little but not held, and one that still falls."""
    total = torch.tensor([0.5 * ARRIVED, 0.5 * NEARLY, 2.0 * NEARLY, 0.5 * NEARLY, 0.5 * NEARLY])
    holds = torch.tensor([True, True, True, False, True])
    descent = Descent(torch.zeros(5, 2), SearchSettings(iterations=200, patience=PATIENCE))
    left: dict[int, int] = {}
    for iteration in range(200):
        rows = descent.rows
        now = total[rows] * torch.where(rows == 4, 0.9**iteration, 1.0)
        descent.note(now, holds[rows], iteration)
        descent.move(torch.ones(len(rows), 2), iteration)
        left |= {int(i): iteration for i in rows if i not in descent.rows}
        if descent.over:
            break
    assert left[0] <= LOOK
    assert PATIENCE <= left[1] <= PATIENCE + LOOK
    assert left[4] < left[1] or total[4] * 0.9 ** left[4] < ARRIVED
    assert min(left[2], left[3]) >= (REDUCTIONS + 1) * PATIENCE
    assert set(left) == set(range(5))
