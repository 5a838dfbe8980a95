"""Make the picture of the app that the guide shows: what a search for the sample person found.

    python pipelines/app_picture.py

Serves a work folder of its own, labels the sample person, searches two deep squats, has OpenSim verify them, and takes
docs/pictures/app.png with the system's Chromium (`apt-get install chromium`). Takes some minutes. Needs playwright.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "app.png"
SIZE = {"width": 1100, "height": 900}
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
LONGEST_MS = 1_800_000


def main() -> int:
    """Serve, click, and take the picture."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("app_picture: there is no Chromium on this machine; install it and try again.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as work, sync_playwright() as started:
        command = [sys.executable, "-m", "bige_opensim.cli", "serve", "--folder", work, "--port", "0", "--no-open"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert server.stdout is not None
        address = server.stdout.readline().decode().split(": the app")[0]
        try:
            page = started.chromium.launch(executable_path=chromium, args=FLAGS).new_page(viewport=SIZE)
            page.set_default_timeout(LONGEST_MS)
            page.goto(address)
            page.click("#sample")
            page.click("text=Label the recordings")
            page.click("text=See squats1")
            page.click("text=Ask for motions")
            page.select_option("#count", "2")
            page.click("#start:not([disabled])")
            page.wait_for_selector("text=Download everything")
            frame = page.query_selector("iframe").content_frame()
            while not frame.evaluate("Boolean(window.bigeView && window.bigeView.frames > 3)"):
                page.wait_for_timeout(500)
            frame.evaluate("bigeSeek(1.2)")
            page.wait_for_timeout(2000)
            page.screenshot(path=str(PICTURE))
        finally:
            server.terminate()
            server.wait()
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
