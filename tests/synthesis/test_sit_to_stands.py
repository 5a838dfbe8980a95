"""Synthetic sit-to-stands: on the seat, on planted feet, and carried by both."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.guidance.quantities import SITS_M, Frame, Observation
from bige_opensim.motion import Motion
from bige_opensim.movements.repetitions import find_movement
from bige_opensim.osim.model import load
from bige_opensim.physics.seat import Seat
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.synthesis.closed_chain import ClosedChainError
from bige_opensim.synthesis.sit_to_stands import Rise, RisingStyle, draw_rises, draw_rising_style, sit_to_stand_motion
from bige_opensim.validation.motion_gates import Anatomy, MotionOnGround, motion_gates


class Performed(NamedTuple):
    style: RisingStyle
    rises: tuple[Rise, ...]
    motion: Motion


@pytest.fixture(scope="module")
def performed(body: Skeleton) -> Performed:
    """Two rises of one person."""
    random = np.random.default_rng(1)
    style = draw_rising_style(random)
    motion, rises = sit_to_stand_motion(body, style, draw_rises(style, 2, random), random)
    return Performed(style, rises, motion)


def test_the_rule_finds_every_rise_and_no_other_movement(performed: Performed) -> None:
    found = find_movement(performed.motion)
    assert (found.movement, len(found.repetitions)) == ("sit-to-stand", 2)
    for repetition, rise in zip(found.repetitions, performed.rises, strict=True):
        assert repetition.duration == pytest.approx(rise.duration, abs=0.45)


def test_feet_do_not_move_and_the_pelvis_stays_on_its_seat_until_it_leaves(
    body: Skeleton, performed: Performed
) -> None:
    poses = body(torch.as_tensor(performed.motion.values))
    points = body.contact_points(poses)
    assert float((points - points[:1]).abs().max()) < 5e-5
    seat = Seat.under(body, 0.0, (0.0, 0.0))
    assert seat is not None
    pelvis = seat.on_bodies(poses)[:, seat.of_pelvis].mean(1)
    first = performed.rises[0]
    ahead = performed.motion.time < first.sit_s + first.lean_s - first.ahead_s
    assert float((pelvis - pelvis[:1]).norm(dim=-1)[ahead].max()) < 1e-4
    assert 0.25 < float(pelvis[:, 1].max() - pelvis[0, 1]) < 0.6


def test_seat_and_feet_carry_what_feet_alone_cannot(body: Skeleton, performed: Performed) -> None:
    """The zero-moment point of one rise lies behind the feet while the person sits, and within feet and seat."""
    rise = performed.rises[0]
    cut = performed.motion.resampled(np.linspace(rise.sit_s - 0.2, rise.sit_s + rise.duration, 101))
    q, duration = torch.as_tensor(cut.values)[None], torch.tensor([cut.duration], dtype=torch.float64)
    alone, seated = (
        Observation(Frame(body.coordinates, (), body, seated=s), q, duration, None).beyond_support[0, 3:-3]
        for s in (False, True)
    )
    assert float(alone.max()) > 0.05
    assert float(seated.max()) < 0.0


def test_the_gate_of_balance_knows_the_chair_of_a_label(body: Skeleton, performed: Performed) -> None:
    rise = performed.rises[0]
    cut = performed.motion.resampled(np.linspace(0.1, rise.sit_s + rise.duration, 120))
    seat = Seat.under(body, 0.0, (0.0, 0.0))
    assert seat is not None
    sits = seat.of_motions(type(p := body(torch.as_tensor(cut.values)[None]))(*p))
    x, z = torch.as_tensor(sits.place)[0, 0].tolist()
    chair = {"height_m": float(torch.as_tensor(sits.height_m)[0, 0, 0]), "place_m": [x, z]}
    anatomy = Anatomy.of(load(built_in(MODEL)), body)
    vertical = np.full((cut.frames, 2), 100.0)
    without, on_it = (
        motion_gates(MotionOnGround(anatomy, cut, vertical, 0.0, chair=c))["balance"] for c in (None, chair)
    )
    assert not without.satisfied
    assert on_it.satisfied


def test_a_seat_out_of_reach_is_refused(body: Skeleton) -> None:
    style = draw_rising_style(np.random.default_rng(0))
    high = RisingStyle(**{**vars(style), "seat": 2.0})
    with pytest.raises(ClosedChainError, match="out of the thighs' reach"):
        sit_to_stand_motion(body, high, draw_rises(high, 1, np.random.default_rng(0)), np.random.default_rng(0))


def test_a_pelvis_that_glides_on_its_seat_or_sinks_is_measured(body: Skeleton, performed: Performed) -> None:
    rise = performed.rises[0]
    cut = performed.motion.resampled(np.linspace(rise.sit_s - 0.2, rise.sit_s + rise.duration, 51))
    q, duration = torch.as_tensor(cut.values)[None], torch.tensor([cut.duration], dtype=torch.float64)
    glides, sinks = q.clone(), q.clone()
    early = torch.sin(torch.linspace(0.0, 4 * torch.pi, 51, dtype=q.dtype)).clamp(min=0.0) * (torch.arange(51) < 13)
    glides[0, :, body.index("pelvis_tx")] += 0.05 * early
    sinks[0, :, body.index("pelvis_ty")] -= 0.05 * early
    off = [
        float(Observation(Frame(body.coordinates, (), body, seated=True), x, duration, None).off_seat.max())
        for x in (q, glides, sinks)
    ]
    assert off[0] < 0.015
    assert off[1] == pytest.approx(0.02, abs=0.01)
    assert off[2] == pytest.approx(0.05, abs=0.02)
    feet_alone = Observation(Frame(body.coordinates, (), body), q, duration, None)
    assert float(feet_alone.off_seat.abs().max()) == 0.0


def test_a_motion_that_begins_off_a_seat_of_a_given_height_is_off_it_by_as_much(
    body: Skeleton, performed: Performed
) -> None:
    """The seat carries where it was asked for, and not where the pelvis is."""
    rise = performed.rises[0]
    cut = performed.motion.resampled(np.linspace(rise.sit_s - 0.2, rise.sit_s + rise.duration, 51))
    q, duration = torch.as_tensor(cut.values)[None], torch.tensor([cut.duration], dtype=torch.float64)

    def seen(seat_m: float | None) -> Observation:
        return Observation(Frame(body.coordinates, (), body, seated=True, seat_m=seat_m), q, duration, None)

    found = seen(None)
    assert found.seat is not None
    rests_m = float(torch.as_tensor(found.seat.height_m).squeeze())
    np.testing.assert_allclose(seen(rests_m).off_seat, found.off_seat, atol=1e-6)
    lower = seen(rests_m - 0.06)
    assert lower.seat is not None
    assert float(torch.as_tensor(lower.seat.height_m).squeeze()) == pytest.approx(rests_m - 0.06)
    assert float(lower.off_seat.min()) == pytest.approx(0.06, abs=1e-6)
    sitting = slice(3, 8)
    assert float(found.beyond_support[0, sitting].max()) < 0.0
    assert float(lower.beyond_support[0, sitting].max()) > 0.05


def test_who_could_stand_where_a_motion_begins_does_not_sit(body: Skeleton, performed: Performed) -> None:
    """Half way up the mass centre is over the feet: a seat that is put under the pelvis there carries nobody."""
    rise = performed.rises[0]
    end = rise.sit_s + rise.duration
    off = []
    for begin in (rise.sit_s - 0.2, end - 0.35 * rise.duration):
        cut = performed.motion.resampled(np.linspace(begin, end, 51))
        duration = torch.tensor([cut.duration], dtype=torch.float64)
        frame = Frame(body.coordinates, (), body, seated=True)
        off.append(Observation(frame, torch.as_tensor(cut.values)[None], duration, None).off_seat)
    assert float(off[0].max()) < 0.015
    assert float(off[1].min()) > SITS_M
