import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
import pytest
import torch

torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--check-shapes",
        action="store_true",
        help="check every annotated shape and type of bige_opensim at run time (jaxtyping and beartype)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--check-shapes"):
        jaxtyping.install_import_hook("bige_opensim", "beartype.beartype")


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """For tests that pass wrong shapes on purpose, to see the package's own message under --check-shapes too."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings and models beside the repository (`data/`, `models/`)."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"real recordings are not here: {SHARED / 'data'} does not exist")
    return SHARED
