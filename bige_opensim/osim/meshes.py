"""The meshes that a model names for its bodies, read by OpenSim from a folder of geometry (.vtp, .obj, .stl)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import opensim
from jaxtyping import Float, Int

from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.osim.model import load


class BodyMesh(NamedTuple):
    """The surface of a body: vertices (V, 3) in the body's frame, m, and triangles (F, 3)."""

    body: str
    vertices: Float[np.ndarray, "vertex 3"]
    faces: Int[np.ndarray, "face 3"]


def body_meshes(path: Path | str, folders: Sequence[Path]) -> list[BodyMesh]:
    """One mesh per body that has any: all of its files that are found in the folders, the first folder first.

    Raises
    ------
    ModelError
        The model cannot be read.

    """
    model = load(path)
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    components = model.model.getComponentsList()
    for component in components:
        mesh = opensim.Mesh.safeDownCast(component)
        file = None if mesh is None else _first(mesh.get_mesh_file(), folders)
        if mesh is None or file is None:
            continue
        frame = mesh.getFrame()
        surface = _surface(file)
        if surface is not None:
            vertices, faces = surface
            transform = frame.findTransformInBaseFrame()
            rotation = np.array([[transform.R().asMat33().get(i, j) for j in range(3)] for i in range(3)])
            scaled = vertices * mesh.get_scale_factors().to_numpy()
            placed = scaled @ rotation.T + transform.p().to_numpy()
            found.setdefault(frame.findBaseFrame().getName(), []).append((placed, faces))
    return [BodyMesh(body, *_merged(parts)) for body, parts in found.items() if body != "ground"]


def _first(name: str, folders: Sequence[Path]) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _surface(file: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Vertices and triangles of a file; None for one that OpenSim cannot read."""
    mesh = opensim.PolygonalMesh()
    try:
        with quiet_opensim():
            mesh.loadFile(str(file))
    except RuntimeError:
        return None
    vertices = np.array([mesh.getVertexPosition(i).to_numpy() for i in range(mesh.getNumVertices())])
    faces = []
    for f in range(mesh.getNumFaces()):
        corners = [mesh.getFaceVertex(f, k) for k in range(mesh.getNumVerticesForFace(f))]
        faces += [(corners[0], a, b) for a, b in pairwise(corners[1:])]
    return (vertices, np.array(faces, dtype=np.int64)) if faces else None


def _merged(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    first = np.cumsum([0, *(len(v) for v, _ in parts[:-1])])
    return np.concatenate([v for v, _ in parts]), np.concatenate(
        [f + n for (_, f), n in zip(parts, first, strict=True)]
    )
