"""OpenSim's messages: held back while this package works, and left to the user otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import opensim


@contextmanager
def quiet_opensim() -> Iterator[None]:
    """Have OpenSim write nothing, neither to the screen nor to `opensim.log`; its level is put back afterwards.

    What matters comes as an exception with a sentence. OpenSim's sinks are not touched: whether there is one cannot be
    asked, so none could be put back.
    """
    before = opensim.Logger.getLevelString()
    opensim.Logger.setLevelString("Off")
    try:
        yield
    finally:
        opensim.Logger.setLevelString(before)


def only_errors() -> None:
    """Have OpenSim write errors to the screen alone, for good: for worker processes, which nobody else uses."""
    opensim.Logger.removeFileSink()
    opensim.Logger.setLevelString("Error")
