"""Muscle paths in C are those of torch: lengths, slopes, forces and their gradients."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.physics import native, native_paths
from bige_opensim.physics.muscle_tables import THELEN
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.native_build import WIDTHS

pytestmark = pytest.mark.skipif(native.library() is None, reason="not compiled here")


@pytest.fixture(scope="module")
def muscles() -> Muscles:
    return Muscles(compile_muscles(built_in(MODEL), poses=200))


def moving(muscles: Muscles, frames: int) -> tuple[Tensor, Tensor]:
    """Poses in and a little beyond the range that paths were fitted on, and speeds at which some fibres collapse."""
    random = torch.Generator().manual_seed(0)
    low, high = muscles.lower.clamp(min=-1.0), muscles.upper.clamp(max=1.0)
    q = low + (high - low) * (1.1 * torch.rand(frames, len(low), generator=random, dtype=torch.float64) - 0.05)
    return q, 3.0 * torch.randn(frames, len(low), generator=random, dtype=torch.float64)


def by_torch(muscles: Muscles, monkeypatch: pytest.MonkeyPatch) -> Muscles:
    with monkeypatch.context() as patched:
        patched.setattr(native, "library", lambda: None)
        return Muscles(muscles.tables)


@pytest.mark.parametrize("frames", [1, 7, 8, 29])
def test_results_are_those_of_torch(muscles: Muscles, monkeypatch: pytest.MonkeyPatch, frames: int) -> None:
    q, speed = moving(muscles, frames)
    other = by_torch(muscles, monkeypatch)
    found, expected = muscles.paths(q, speed), other.paths(q, speed)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
    lengths, slopes = other.lengths_and_slopes(q)
    torch.testing.assert_close(found[0], lengths)
    torch.testing.assert_close(found[1], slopes, rtol=1e-9, atol=1e-10)
    assert float(expected[2].std()) > 100.0


def test_gradients_are_those_of_torch(muscles: Muscles, monkeypatch: pytest.MonkeyPatch) -> None:
    other = by_torch(muscles, monkeypatch)
    random = torch.Generator().manual_seed(1)
    given = moving(muscles, 19)
    asked = [torch.randn(x.shape, generator=random, dtype=x.dtype) for x in muscles.paths(*given)]
    asked[2] /= 1000.0
    gradients = []
    for one in (muscles, other):
        q, speed = (x.clone().requires_grad_() for x in given)
        weighted = sum((g * x).sum() for g, x in zip(asked, one.paths(q, speed), strict=True))
        gradients.append(torch.autograd.grad(weighted, (q, speed)))
    for mine, theirs in zip(*gradients, strict=True):
        assert float(theirs.abs().max()) > 0.1
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)


def test_a_collapsed_fibre_pulls_nothing_and_a_pose_that_is_no_number_gives_none(
    muscles: Muscles, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = muscles.tables.parameters
    slack = parameters["tendon_slack_length"].copy()
    slack[0] += 1.0
    tables = replace(muscles.tables, parameters=parameters | {"tendon_slack_length": slack})
    q, speed = moving(muscles, 9)
    short = Muscles(tables)
    length, _, force = short.paths(q, speed)
    assert not force[:, 0].any()
    torch.testing.assert_close(force, by_torch(short, monkeypatch).paths(q, speed)[2], rtol=1e-10, atol=1e-10)
    q[4] = torch.nan
    found = short.paths(q, speed)
    assert torch.isnan(found[0][4]).all()
    torch.testing.assert_close(found[0][:4], length[:4])


def test_other_classes_are_left_to_torch(muscles: Muscles) -> None:
    assert native_paths.NativePaths.able(muscles.tables)
    classes = (THELEN, *muscles.tables.classes[1:])
    assert not native_paths.NativePaths.able(replace(muscles.tables, classes=classes))


def test_threads_change_nothing(muscles: Muscles, monkeypatch: pytest.MonkeyPatch) -> None:
    q, speed = moving(muscles, 40)
    once = muscles.paths(q, speed)
    monkeypatch.setattr(native_paths, "FEWEST_PER_THREAD", 5)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    for mine, theirs in zip(muscles.paths(q, speed), once, strict=True):
        assert np.array_equal(mine, theirs)


def test_single_precision_comes_back_single(muscles: Muscles) -> None:
    q, speed = moving(muscles, 8)
    single = Muscles(muscles.tables, dtype=torch.float32).paths(q.float(), speed.float())
    for mine, theirs in zip(single, muscles.paths(q, speed), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-3, atol=1e-3)


def test_every_width_of_vectors_that_this_processor_has_gives_the_same(
    muscles: Muscles, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = native.library()
    assert compiled is not None
    widths = list(WIDTHS)
    given, found = moving(muscles, 13), {}
    for level in widths[: widths.index(compiled.level) + 1]:
        narrower = copy(compiled)
        narrower.level = level
        monkeypatch.setattr(native, "library", lambda narrower=narrower: narrower)
        q, speed = (x.clone().requires_grad_() for x in given)
        pulls = muscles.pulls(q, speed)
        pulls.square().sum().backward()
        assert q.grad is not None
        found[level] = pulls.detach(), q.grad
    for level, results in found.items():
        for mine, theirs in zip(results, found[""], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9 * float(theirs.abs().max()), msg=level)
