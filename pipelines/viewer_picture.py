"""Make the picture of the viewer that the README shows: the sample person, at the bottom of a squat.

    python pipelines/viewer_picture.py

Labels the sample motion, writes its page as `bige view ... --html` does, and takes docs/pictures/viewer.png with the
system's Chromium (`apt-get install chromium`), whose WebGL needs no graphics processor.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import bige_opensim as bige

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "viewer.png"
START_S, END_S, MOMENT_S = 0.5, 4.0, 1.55
SIZE = (1100, 640)


def main() -> int:
    """Label, write the page, and take the picture."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("viewer_picture: there is no Chromium on this machine; install it and try again.", file=sys.stderr)
        return 1
    session = bige.sample_session()
    label = bige.label(session.motion, model=session.model, solver="fast", audit=0.0, start=START_S, end=END_S)
    with tempfile.TemporaryDirectory() as scratch:
        page = bige.view(label, html=Path(scratch) / "view.html")
        assert isinstance(page, Path)
        subprocess.run(
            [
                chromium, "--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader", "--disable-background-networking", "--no-first-run",
                f"--user-data-dir={scratch}/profile", f"--window-size={SIZE[0]},{SIZE[1]}", "--hide-scrollbars",
                "--virtual-time-budget=8000", f"--screenshot={PICTURE}", f"{page.as_uri()}#t={MOMENT_S}",
            ],
            check=True, capture_output=True, timeout=180,
        )  # fmt: skip
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
