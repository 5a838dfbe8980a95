"""OpenSim's messages: held back while this package works, and left to the user otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import opensim


@contextmanager
def quiet_opensim() -> Iterator[None]:
    """Have OpenSim write nothing, neither to the screen nor to `opensim.log`; its level is put back afterwards.

    What matters comes as an exception with a sentence. Sinks are not touched: whether there is one cannot be asked, so
    none could be put back.
    """
    before = opensim.Logger.getLevelString()
    opensim.Logger.setLevelString("Off")
    try:
        yield
    finally:
        with _muted():  # OpenSim announces its level
            opensim.Logger.setLevelString(before)


def only_errors() -> None:
    """Have OpenSim write errors to the screen alone, for good: for worker processes, which nobody else uses."""
    opensim.Logger.removeFileSink()
    opensim.Logger.setLevelString("Error")


@contextmanager
def _muted() -> Iterator[None]:
    """Standard output and error to nowhere, also for what is not Python."""
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in kept:
            os.dup2(nowhere, stream)
        yield
    finally:
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)
