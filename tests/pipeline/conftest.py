"""A display that shows nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bige_opensim.pipeline.stages import Show, Steps


class Silent:
    def now(self, text: str) -> None: ...

    def finish(self, line: str) -> None: ...

    def advance(self, done: int, text: str, *, every: int) -> None: ...


@pytest.fixture(scope="session")
def silently() -> Show:
    @contextmanager
    def show(total: int, what: str) -> Iterator[Steps]:
        yield Silent()

    return show
