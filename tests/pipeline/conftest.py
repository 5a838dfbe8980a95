"""A display that shows nothing."""

import pytest

from bige_opensim.workflows.progress import Show, Silent


@pytest.fixture(scope="session")
def silently() -> Show:
    return Silent
