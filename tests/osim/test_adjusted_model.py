"""A model that is written with other inertial parameters and contact points compiles to just these."""

from dataclasses import replace

import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose
from small_models import biped

from bige_opensim.osim.adjusted_model import write_adjusted_model
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import SkeletonTables


def with_spheres(source, target):
    """Contact spheres on tilted frames of both feet."""
    model = opensim.Model(str(source))
    model.initSystem()
    for side in "rl":
        calcn = model.updBodySet().get(f"calcn_{side}")
        tilted = opensim.Transform(opensim.Rotation(0.4, opensim.CoordinateAxis(2)), opensim.Vec3(0.1, 0.02, 0))
        frame = opensim.PhysicalOffsetFrame(f"sole_{side}", calcn, tilted)
        calcn.addComponent(frame)
        sphere = opensim.ContactSphere(0.03, opensim.Vec3(0.01, -0.02, 0.0), frame, f"heel_{side}")
        model.addContactGeometry(sphere)
    model.finalizeConnections()
    model.printToXML(str(target))
    return target


def changed(t: SkeletonTables) -> SkeletonTables:
    random = np.random.default_rng(1)
    shift = 0.02 * random.normal(size=t.contact_centre.shape)
    return replace(
        t, mass=1.04 * t.mass, inertia=1.04 * t.inertia, com=t.com + 0.01, contact_centre=t.contact_centre + shift
    )


@pytest.mark.parametrize("own", [False, True])
def test_a_model_is_written_as_its_adjusted_skeleton(tmp_path, own):
    model = biped(tmp_path / "biped.osim")
    if own:
        model = with_spheres(model, tmp_path / "spheres.osim")
    wanted = changed(compile_skeleton(model, cache=False))
    found = compile_skeleton(write_adjusted_model(model, tmp_path / "adjusted.osim", wanted), cache=False)
    assert found.contact_names == wanted.contact_names
    assert len(found.contact_names) == (2 if own else 12)
    for name in ("mass", "com", "inertia", "contact_centre", "contact_radius", "muscles", "max_isometric_force"):
        assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-12) if name != "muscles" else None
    assert found.muscles == wanted.muscles
