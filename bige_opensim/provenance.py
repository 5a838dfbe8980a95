"""Where an artefact comes from: the version of the package, and the record that labels, motions and networks carry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

__version__ = "0.1.0"


def provenance(**facts: Any) -> dict[str, Any]:
    """What made an artefact: the package's version, what else is known, and the date (UTC, to the second)."""
    return {"bige_opensim": __version__, **facts, "date": datetime.now(UTC).isoformat(timespec="seconds")}
