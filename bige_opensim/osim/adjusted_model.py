"""A copy of a model with other inertial parameters and other contact points of the feet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import opensim

from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.physics.skeleton import SkeletonTables


@quiet_opensim()
def write_adjusted_model(model: Path, path: Path, tables: SkeletonTables) -> Path:
    """Write a copy of a model with the masses, mass centres, inertias and contact points of a skeleton.

    Parameters
    ----------
    model
        An .osim file that OpenSim reads.
    path
        File to write.
    tables
        The skeleton of the adjusted body. A body is changed where it differs by more than rounding. Contact points are
        ContactSpheres: those that the model has are moved, others are added, and push on nothing by themselves.

    """
    copy = opensim.Model(str(model))
    for b, name in enumerate(tables.bodies):
        body = copy.updBodySet().get(name)
        inertia = tables.inertia[b]
        body.setMass(float(tables.mass[b]))
        body.setMassCenter(opensim.Vec3(*map(float, tables.com[b])))
        sixth = [inertia[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
        body.setInertia(opensim.Inertia(*map(float, sixth)))
    copy.initSystem()
    spheres = copy.updContactGeometrySet()
    own = {spheres.get(i).getName(): spheres.get(i) for i in range(spheres.getSize())}
    for p, name in enumerate(tables.contact_names):
        body = copy.getBodySet().get(tables.bodies[tables.contact_body[p]])
        centre = tables.contact_centre[p]
        if name in own:
            sphere = opensim.ContactSphere.safeDownCast(own[name])
            in_body = sphere.getFrame().findTransformInBaseFrame()
            sphere.set_location(in_body.shiftBaseStationToFrame(opensim.Vec3(*map(float, centre))))
        else:
            at = opensim.Vec3(*map(float, centre))
            copy.addContactGeometry(opensim.ContactSphere(float(tables.contact_radius[p]), at, body, name))
    copy.finalizeConnections()
    copy.printToXML(str(path))
    return path


def differs(one: SkeletonTables, other: SkeletonTables) -> bool:
    """Whether two skeletons have other masses, mass centres, inertias or contact points."""
    names = ("mass", "com", "inertia", "contact_centre")
    return any(not np.allclose(getattr(one, n), getattr(other, n), rtol=0, atol=1e-12) for n in names)
