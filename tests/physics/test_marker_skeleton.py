import numpy as np
import pytest
import small_models
import torch
from markers import KNEE_PLACES, full_body, moving, places, places_by_opensim

from bige_opensim.osim.compile_markers import compile_markers
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.osim.person_fit import add_markers
from bige_opensim.physics.marker_skeleton import MarkerSkeleton, MarkerTables


@pytest.fixture(scope="module")
def person() -> OsimModel:
    return full_body()


@pytest.fixture(scope="module")
def knee(tmp_path_factory) -> OsimModel:
    """A knee whose one angle drives the tibia and, by a coupler, the patella: two branches with markers."""
    path = small_models.knee_with_patella(tmp_path_factory.mktemp("knee") / "knee.osim")
    return add_markers(load(path), KNEE_PLACES)


@pytest.fixture(params=["person", "knee"])
def model(request) -> OsimModel:
    return request.getfixturevalue(request.param)


@pytest.fixture
def tables(model: OsimModel) -> MarkerTables:
    return compile_markers(model)


def by_differences(skeleton: MarkerSkeleton, q: torch.Tensor, step: float = 1e-6) -> torch.Tensor:
    """J (M, 3, N, C') of the marker positions by central differences."""
    columns = []
    for c in skeleton.columns.tolist():
        shift = torch.zeros(len(q), 1, dtype=q.dtype)
        shift[c] = step
        columns.append((skeleton.positions(q + shift) - skeleton.positions(q - shift)) / (2.0 * step))
    return torch.stack(columns, -1)


def test_markers_are_where_the_forward_kinematics_of_labels_puts_them(tables: MarkerTables):
    q = moving(tables, frames=9)
    found = MarkerSkeleton(tables, tables.names).positions(torch.as_tensor(q.T))
    np.testing.assert_allclose(found.permute(2, 0, 1).numpy(), places(tables, q), atol=1e-12)


def test_markers_are_where_opensim_puts_them(model: OsimModel, tables: MarkerTables):
    q = moving(tables, frames=5)
    found = MarkerSkeleton(tables, tables.names).positions(torch.as_tensor(q.T)).permute(2, 0, 1).numpy()
    np.testing.assert_allclose(found, places_by_opensim(model, tables.skeleton.coordinates, q), atol=1e-6)


def test_gradient_and_matrix_are_those_of_the_jacobian_by_differences(tables: MarkerTables):
    skeleton, random = MarkerSkeleton(tables, tables.names), np.random.default_rng(1)
    q = torch.as_tensor(moving(tables, frames=6).T)
    observed = skeleton.positions(q) + 0.05 * torch.as_tensor(random.standard_normal((len(tables.names), 3, 6)))
    weight = torch.as_tensor(random.uniform(0.1, 5.0, (len(tables.names), 6)))
    weight[2, :3], weight[4] = 0.0, 0.0
    eq = skeleton.normal_equations(q, observed, weight)
    share = weight / weight.sum(0)
    J, r = by_differences(skeleton, q), skeleton.positions(q) - observed
    torch.testing.assert_close(eq.cost, 0.5 * (share[:, None] * r * r).sum((0, 1)))
    torch.testing.assert_close(eq.gradient, torch.einsum("mn,min,minc->cn", share, r, J), atol=1e-8, rtol=1e-6)
    H = torch.einsum("mn,minc,mind->ncd", share, J, J)
    torch.testing.assert_close(eq.matrix.tril(), H.tril(), atol=1e-8, rtol=1e-6)


def test_the_newton_matrix_is_the_derivative_of_the_gradient(person: OsimModel):
    tables = compile_markers(person)
    skeleton, random = MarkerSkeleton(tables, tables.names), np.random.default_rng(1)
    q = torch.as_tensor(moving(tables, frames=3).T)
    observed = skeleton.positions(q) + 0.05 * torch.as_tensor(random.standard_normal((len(tables.names), 3, 3)))
    weight = torch.ones(len(tables.names), 3, dtype=torch.float64)
    columns, step = [], 1e-6
    for c in skeleton.columns.tolist():
        shift = torch.zeros(len(q), 1, dtype=q.dtype)
        shift[c] = step
        up, down = (skeleton.normal_equations(q + sign * shift, observed, weight).gradient for sign in (1, -1))
        columns.append((up - down).T / (2.0 * step))
    expected = torch.stack(columns, 2)
    found = skeleton.normal_equations(q, observed, weight).newton
    knees = [i for i, c in enumerate(skeleton.columns) if "knee" in tables.skeleton.coordinates[c]]
    exact = torch.ones_like(found, dtype=torch.bool).tril()
    exact[:, knees, knees] = False
    torch.testing.assert_close(found[exact], expected[exact], atol=1e-7, rtol=1e-5)
    creeping = skeleton.normal_equations(q, observed, weight).matrix
    assert (creeping - expected)[exact].abs().max() > 100 * (found - expected)[exact].abs().max()


def test_a_coordinate_that_moves_two_branches_is_one_column(knee: OsimModel):
    tables = compile_markers(knee)
    skeleton = MarkerSkeleton(tables, tables.names)
    assert [tables.skeleton.coordinates[c] for c in skeleton.columns] == ["tx", "ty", "tilt", "knee_angle"]
    J = by_differences(skeleton, torch.full((4, 1), 0.5, dtype=torch.float64))
    on = {name[:-1]: J[k, :, 0, 3].norm() for k, name in enumerate(tables.names)}
    assert on["tibia"] > 0.01
    assert on["patella"] > 0.001
    assert on["femur"] == 0.0


def test_coordinates_without_markers_are_idle_and_locked_ones_are_neither(person: OsimModel):
    tables = compile_markers(person)
    names = tables.skeleton.coordinates
    skeleton = MarkerSkeleton(tables, [n for n in tables.names if n not in ("RTOE", "RHEE")])
    assert [names[c] for c in skeleton.idle] == ["ankle_angle_r", "subtalar_angle_r", "mtp_angle_r", "mtp_angle_l"]
    locked = tuple(name == "elbow_flex_l" for name in names)
    tables.skeleton.__dict__["locked"] = locked
    skeleton = MarkerSkeleton(tables, tables.names)
    assert names.index("elbow_flex_l") not in {*skeleton.columns.tolist(), *skeleton.idle}
