"""The built-in body, compiled once."""

import pytest

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import Skeleton


@pytest.fixture(scope="session")
def body() -> Skeleton:
    """The unscaled full body."""
    return Skeleton(compile_skeleton(built_in(MODEL)))
