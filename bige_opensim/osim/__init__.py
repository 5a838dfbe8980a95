"""OpenSim itself: the only room that imports it.

Where this package is the first in the process to import OpenSim, no `opensim.log` appears in the working directory;
`opensim.Logger.addFileSink()` asks for one. Where the user's script was first, its log stays as it is.
"""

import sys

_FIRST = "opensim" not in sys.modules

import opensim  # noqa: E402

if _FIRST:
    opensim.Logger.removeFileSink()
