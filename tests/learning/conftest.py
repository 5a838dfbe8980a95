"""Datasets of repetitions for tests of networks."""

import pytest
import xarray as xr
from squat_like_repetitions import MUSCLES_6, MUSCLES_80, squat_like_dataset


@pytest.fixture
def synthetic_dataset() -> xr.Dataset:
    """24 repetitions of 4 subjects, 33 coordinates, 6 muscles whose activations follow the motion smoothly."""
    return squat_like_dataset(MUSCLES_6)


@pytest.fixture
def synthetic_dataset_80() -> xr.Dataset:
    """As `synthetic_dataset`, with the 80 leg muscles of the OpenCap models."""
    return squat_like_dataset(MUSCLES_80)
