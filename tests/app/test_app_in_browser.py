"""A whole search in the system's Chromium, from files to the download: by clicks, and by keys alone.

Jobs are stand-ins; the slow twin does the real ones. Needs playwright and Chromium; skipped with a sentence otherwise.
Pictures of all pages are kept where `BIGE_TEST_PICTURES` names a folder.
"""

import asyncio
import os
import re
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_stand_ins import examine
from chromium import CHROMIUM, FLAGS
from small_models import biped, write_squat
from test_job_queue import make_app
from test_server import StandInChecker

import bige_opensim as bige
from bige_opensim.app.checker import Checker
from bige_opensim.app.job_queue import JobQueue
from bige_opensim.app.runner import Runner
from bige_opensim.app.server import App, serve
from bige_opensim.workflows.sample import SAMPLE_SESSION

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
assert callable(examine)


class Served:
    """The app in a thread of its own, at `url`."""

    def __init__(self, app: App) -> None:
        self.app, self.url = app, ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(30.0)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await serve(self.app, 0, self._tell, self._stop)

    def _tell(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self._ready.set()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30.0)


class Seen:
    """A page, what it said, what it asked for, and pictures of it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("request", lambda r: self._asked(r.url))
        page.goto(url)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.elsewhere.append(url)

    def picture(self, name: str) -> None:
        folder = os.environ.get("BIGE_TEST_PICTURES")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)

    def faults(self) -> list[str]:
        """What axe calls serious or critical."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
        found = axe.Axe().run(self.page, options={"resultTypes": ["violations"]}).response["violations"]
        return [f"{v['id']}: {v['nodes'][0]['html'][:160]}" for v in found if v["impact"] in ("serious", "critical")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    model = biped(folder / "biped.osim")
    return bige.view(write_squat(model, folder / "squat.mot"), html=folder / "view.html", model=model)


@pytest.fixture
def served(tmp_path: Path, scene: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("BIGE_TEST_SCENE", str(scene))
    app = make_app(tmp_path / "work")
    app.checker = StandInChecker()  # type: ignore[assignment]
    found = Served(app)
    yield found
    found.stop()


@pytest.fixture
def seen(browser: Any, served: Served) -> Iterator[Seen]:
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.set_default_timeout(60_000)
    yield Seen(page, served.url)
    page.close()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "m.osim").write_text("<OpenSimDocument/>")
    (tmp_path / "squats1.mot").write_text("nRows=1\n")
    return [str(tmp_path / "m.osim"), str(tmp_path / "squats1.mot")]


def drawn(page: Any) -> None:
    """Wait until the scene in the page's frame has shown a few frames."""
    frame = page.query_selector("iframe").content_frame()
    holds(frame, "Boolean(window.bigeView && window.bigeView.frames > 1)")


def holds(frame: Any, expression: str, seconds: float = 60.0) -> None:
    """Wait until an expression is true; playwright's own way evaluates text in the page, which its policy forbids."""
    deadline = time.monotonic() + seconds
    while not frame.evaluate(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.05)


def search_by_clicks(seen: Seen, files: list[str], at_most: int) -> Path:
    """From the first page to the download; returns the file. The choice of files is one click."""
    page, clicks = seen.page, 0

    def click(what: str) -> None:
        nonlocal clicks
        clicks += 1
        page.click(what)

    seen.picture("1_empty")
    assert seen.faults() == []
    with page.expect_file_chooser() as chooser:
        click("text=Choose files")
    chooser.value.set_files(files)
    page.wait_for_url("**/people/*")
    page.wait_for_selector("text=Label the recordings")
    seen.picture("2_person")
    assert seen.faults() == []
    click("text=Label the recordings")
    page.wait_for_selector("text=See squats1")
    click("text=See squats1")
    drawn(page)
    seen.picture("3_recording")
    assert seen.faults() == []
    click("text=Ask for motions")
    page.wait_for_selector("#start:not([disabled])")
    seen.picture("4_ask")
    assert seen.faults() == []
    click("#start")
    page.wait_for_url("**/jobs/*")
    seen.picture("5_searching")
    page.wait_for_selector("text=Download everything", timeout=900_000)
    drawn(page)
    seen.picture("6_results")
    assert seen.faults() == []
    with page.expect_download() as download:
        click("text=Download everything")
    assert clicks <= at_most
    return Path(download.value.path())


def test_a_search_by_clicks_from_upload_to_download(seen: Seen, files: list[str]):
    assert zipfile.ZipFile(search_by_clicks(seen, files, at_most=6)).namelist() == []
    assert seen.errors == []
    assert seen.elsewhere == []


def test_a_search_by_keys_alone(seen: Seen, files: list[str]):
    page = seen.page

    def reach(what: str, most: int = 60) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate("(s) => document.activeElement.matches(s)", what):
                return
        raise AssertionError(f"{what} is not reached by Tab")

    reach("#files")
    page.set_input_files("#files", files)  # what the browser's own chooser hands over
    page.wait_for_selector("text=Label the recordings")
    reach("[data-post$='/label']")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=See squats1")
    reach("a[href$='/ask']")
    page.keyboard.press("Enter")
    page.wait_for_selector("#start:not([disabled])")
    reach("[name=library]")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#start:not([disabled])")
    reach("fieldset.term input[type=range]")
    before = page.evaluate("document.activeElement.value")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.value") != before
    page.wait_for_selector("#start:not([disabled])")
    reach("#start", 200)
    page.keyboard.press("Space")
    page.wait_for_selector("text=Download everything")
    reach("a[download]")
    with page.expect_download():
        page.keyboard.press("Enter")
    assert seen.errors == []


def test_sliders_and_text_say_the_same(seen: Seen, files: list[str]):
    page = seen.page
    page.set_input_files("#files", files)
    page.wait_for_selector("a[href$='/ask']")
    page.click("a[href$='/ask']")
    page.wait_for_selector("#start:not([disabled])")
    page.click("text=As text")
    page.fill("fieldset.term >> nth=0 >> input[type=number]", "87")
    holds(page, "document.querySelector('#toml').value.includes('at_least = 87')")
    text = page.input_value("#toml")
    page.fill("#toml", re.sub("at_least = 87", "at_least = 66", text))
    holds(page, "document.querySelector('fieldset.term input[type=number]').value === '66'")
    page.fill("#toml", text.replace("quantity", "quanttiy", 1))
    page.wait_for_selector("text=did you mean 'quantity'?")
    assert page.is_disabled("#start")
    page.fill("#toml", text)
    page.wait_for_selector("#start:not([disabled])")
    page.click("text=Add a goal")
    holds(page, "document.querySelector('#toml').value.includes('quantity = \"depth\"')")
    assert seen.errors == []


def test_states_of_work_can_be_told(seen: Seen, served: Served, files: list[str]):
    """At work, cancelled, and no server."""
    page = seen.page
    user = next(served.app.users.iterdir(), None)
    assert user is None
    page.set_input_files("#files", files)
    page.wait_for_selector("text=Label the recordings")
    user = next(served.app.users.iterdir())
    (user / "wait").touch()
    page.click("text=Label the recordings")
    page.wait_for_selector("text=step 1 of 1: standing in")
    seen.picture("7_at_work")
    assert seen.faults() == []
    page.click("text=Cancel")
    page.wait_for_selector("text=Cancelled.")
    seen.picture("8_cancelled")
    assert seen.faults() == []


@pytest.mark.slow
def test_a_real_search_of_the_sample_session_by_clicks(browser: Any, tmp_path: Path):
    (tmp_path / "work" / "users").mkdir(parents=True)
    queue = JobQueue(tmp_path / "work" / "app.sqlite")
    app = make_app(tmp_path / "work")
    app.runner = Runner(queue, app.users)
    app.queue, app.checker = queue, Checker()
    served = Served(app)
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.set_default_timeout(600_000)
    seen = Seen(page, served.url)
    try:
        session = tmp_path / "session.zip"
        shutil.copyfile(SAMPLE_SESSION, session)
        bundle = zipfile.ZipFile(search_by_clicks(seen, [str(session)], at_most=6))
        names = set(bundle.namelist())
        assert {"report.html", "view.html", "motions/generation.json", "motions/model.osim"} <= names
        assert "confirmed by OpenSim" in page.inner_text("main")
        assert not page.inner_text("main .note").startswith("0 of")
        assert seen.errors == []
        assert seen.elsewhere == []
    finally:
        page.close()
        served.stop()
