"""The motions in three dimensions inside the report: one offline file, in which that script runs and no other."""

import base64
import hashlib
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import bige_opensim as bige

MakeFolder = Callable[..., Path]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run"]
LARGEST = 10e6


class Tags(HTMLParser):
    """Attributes by tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, list[dict[str, str | None]]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.setdefault(tag, []).append(dict(attrs))


def policy(tags: Tags) -> str:
    (meta,) = (m for m in tags.found["meta"] if m.get("http-equiv") == "Content-Security-Policy")
    return str(meta["content"])


def test_the_scene_stands_in_a_frame_whose_script_alone_may_run(make_folder: MakeFolder):
    path = bige.report(make_folder({"motion_01": None, "motion_02": None}))
    text = path.read_text(encoding="utf-8")
    assert len(text) < LARGEST
    tags = Tags(text)
    assert "script" not in tags.found
    (frame,) = tags.found["iframe"]
    assert frame["sandbox"] == "allow-scripts"
    assert set(frame) == {"title", "sandbox", "srcdoc"}, "nothing is loaded"
    scripts = re.findall(r"<script>(.*?)</script>", str(frame["srcdoc"]), re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy(tags)
    assert "unsafe-inline" not in policy(tags).split("script-src")[1]
    assert all(name in str(frame["srcdoc"]) for name in ("motion_01", "motion_02"))


def test_hostile_names_stay_text_in_the_frame_too(make_folder: MakeFolder):
    hostile = '"><img src=x onerror=alert(1)>'
    path = bige.report(make_folder({hostile: None}))
    tags = Tags(path.read_text(encoding="utf-8"))
    inside = Tags(str(tags.found["iframe"][0]["srcdoc"]))
    assert "img" not in tags.found
    assert "img" not in inside.found
    assert len(inside.found["script"]) == 2, "the data and the program"


def test_a_report_without_a_scene_runs_nothing(make_folder: MakeFolder):
    tags = Tags(bige.report(make_folder({"motion_01": None}), scene=False).read_text(encoding="utf-8"))
    assert "iframe" not in tags.found
    assert "script-src" not in policy(tags)


def test_motions_whose_files_cannot_be_read_leave_a_sentence_in_place_of_the_scene(make_folder: MakeFolder):
    folder = make_folder({"motion_01": None})
    (folder / "motion_01").mkdir()
    (folder / "motion_01" / "label.json").write_text("{}", encoding="utf-8")
    text = bige.report(folder).read_text(encoding="utf-8")
    assert "The motions cannot be shown in three dimensions" in text
    assert "<iframe" not in text


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_scene_plays_in_a_browser_without_an_error_or_a_request(make_folder: MakeFolder):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = bige.report(make_folder({"motion_01": None, "motion_02": None}))
    said: list[str] = []
    asked: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 900, "height": 700})
        page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: said.append(str(e)))
        page.on("request", lambda r: asked.append(r.url))
        page.goto(path.as_uri())
        page.locator("section.scene").scroll_into_view_if_needed()
        frame: Any = page.frames[1]
        frame.wait_for_function("() => window.bigeView && window.bigeView.frames > 0", timeout=60_000)
        assert said == []
        assert asked == [path.as_uri()]
        forbidden = "() => { const s = document.createElement('script'); s.textContent = 'window.evil = 1';"
        assert frame.evaluate(f"{forbidden} document.body.append(s); return window.evil ?? 'blocked' }}") == "blocked"
        browser.close()
