"""The page in the system's Chromium, without a graphics processor: drawn, played, no error, no request.

Needs playwright (in the extra `test`; its own browsers are not needed) and Chromium; skipped with a sentence otherwise.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import CHROMIUM, FLAGS
from small_models import write_squat

import bige_opensim as bige
from bige_opensim.labelling.label import Label

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


class Seen:
    """A page that is open, and what it said and asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("request", lambda r: self.requests.append(r.url))

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.page.wait_for_function("() => window.bigeView && window.bigeView.frames > 0", timeout=60_000)

    def asked_elsewhere(self, url: str) -> list[str]:
        return [u for u in self.requests if u != url and not u.startswith(("data:", "blob:"))]

    def picture(self, folder: Path) -> np.ndarray:
        from matplotlib.image import imread

        path = folder / "seen.png"
        self.page.locator("main").screenshot(path=str(path), timeout=60_000)
        return imread(path)[..., :3]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def seen(browser: Any) -> Iterator[Seen]:
    page = browser.new_page(viewport={"width": 900, "height": 600})
    yield Seen(page)
    page.close()


@pytest.fixture(scope="module")
def file(label: Label, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bige.view([label, label], html=tmp_path_factory.mktemp("page") / "view.html")


def share_of(picture: np.ndarray, colour: tuple[float, float, float], near: float = 0.12) -> float:
    return float((np.abs(picture - np.array(colour)).max(-1) < near).mean())


def test_the_file_is_drawn_and_played_without_an_error_or_a_request(seen: Seen, file: Path, tmp_path: Path):
    url = file.as_uri()
    seen.open(url)
    seen.page.wait_for_function("() => window.bigeView.frames > 3", timeout=60_000)
    seen.page.evaluate("bigeSeek(0.5)")
    seen.page.wait_for_timeout(1000)
    picture = seen.picture(tmp_path)
    assert share_of(picture, (0.16, 0.55, 0.3), 0.25) > 1e-4, "no green: neither forces nor base of support"
    assert picture.std() > 0.02
    assert seen.errors == []
    assert seen.asked_elsewhere(url) == []


def test_a_motion_without_activations_is_drawn(seen: Seen, small_model: Path, tmp_path: Path):
    motion = write_squat(small_model, tmp_path / "squat.mot")
    seen.open(bige.view(motion, html=tmp_path / "view.html", model=small_model).as_uri())
    assert seen.errors == []


def test_layers_can_be_hidden_and_the_curve_follows_the_slider(seen: Seen, file: Path, tmp_path: Path):
    seen.open(file.as_uri() + "#t=0.5")
    seen.page.wait_for_timeout(1000)
    before = seen.picture(tmp_path)
    for layer in ("skin", "bones", "muscles", "forces", "balance", "titles"):
        seen.page.locator(f"#{layer}").uncheck()
    seen.page.wait_for_timeout(1000)
    assert seen.picture(tmp_path).std() < 0.5 * before.std()
    slider = seen.page.locator("#time")
    slider.focus()
    slider.press("Home")
    first = seen.page.locator("#cursor").get_attribute("style")
    slider.press("End")
    seen.page.wait_for_timeout(1000)
    assert seen.page.locator("#cursor").get_attribute("style") != first
    seen.page.locator("#channel").select_option(label="knee_angle_r")
    assert "°" in seen.page.locator("#range").inner_text()
    assert seen.errors == []


def test_a_live_view_asks_its_own_machine_alone(seen: Seen, label: Label):
    view = bige.view(label, port=0, open_browser=False)
    try:
        seen.open(view.url)
        assert seen.asked_elsewhere(view.url) == []
        assert seen.errors == []
    finally:
        view.stop()
