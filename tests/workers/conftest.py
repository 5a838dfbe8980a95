import pytest


@pytest.fixture(scope="session", autouse=True)
def keep_apart(own_cache: None) -> None:
    """Compiled models of these tests stay out of the user's cache."""
