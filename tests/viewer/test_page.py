"""The page: small, without a request, inert to what stands in names, and its numbers those of the motion."""

import base64
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import bige_opensim as bige
from bige_opensim.labelling.label import Label
from bige_opensim.viewer.page import CURVE_LEVELS, SCENE_STEP_M, TURN_STEP, Packed, as_html, in_steps, page_data
from bige_opensim.viewer.take import Take
from bige_opensim.workflows.view import takes_of

FULL_BODY = Path(__file__).resolve().parents[2] / "osim_models" / "fullbody80.osim"


@pytest.fixture(scope="module")
def takes(label: Label) -> list[Take]:
    return takes_of(label, 30.0)


@pytest.fixture(scope="module")
def data(takes: list[Take]) -> dict[str, Any]:
    return page_data(takes, overlaid=False)


def unpacked(data: dict[str, Any], name: str) -> np.ndarray:
    """An array as the page's script has it: differences over time summed up again, modulo 2^16."""
    about = data["arrays"][name]
    raw = zlib.decompress(base64.b64decode(data["blob"]))
    values = np.frombuffer(raw, about["kind"], about["count"], about["start"])
    if about["steps"]:
        return np.cumsum(values.reshape(-1, about["steps"]), axis=0, dtype=values.dtype).ravel()
    return values


def test_poses_come_back_within_the_steps_of_the_file(takes: list[Take], data: dict[str, Any]):
    take = takes[0]
    places = unpacked(data, "take0.places").reshape(take.position.shape) * SCENE_STEP_M
    np.testing.assert_allclose(places, take.position, atol=0.51 * SCENE_STEP_M)
    turns = unpacked(data, "take0.turns").reshape(*take.rotation.shape[:2], 4) * TURN_STEP
    there = Rotation.from_quat(np.roll(turns.reshape(-1, 4), -1, 1))
    off = (there * Rotation.from_matrix(take.rotation.reshape(-1, 3, 3)).inv()).magnitude()
    assert off.max() < 3.0 * TURN_STEP


def test_curves_and_activations_come_back(takes: list[Take], data: dict[str, Any]):
    take, frames = takes[0], takes[0].frames
    found = unpacked(data, "curves").reshape(-1, frames)
    assert {"vasti_r", "knee_angle_r", "knee_angle_r_moment", "ground_force_r_vy"} <= set(take.curves) | {"vasti_r"}
    for row, channel in zip(found, data["channels"], strict=True):
        span = channel["high"] - channel["low"]
        values = channel["low"] + row / CURVE_LEVELS * span
        np.testing.assert_allclose(values, take.curves[channel["name"]].values, atol=span / CURVE_LEVELS + 1e-12)
    levels = unpacked(data, "take0.activations").reshape(frames, -1) / 255.0
    np.testing.assert_allclose(levels, take.activations, atol=0.51 / 255.0)


def test_differences_beyond_sixteen_bits_come_back():
    packed = Packed()
    values = np.array([[-32768], [32767], [-5], [32767]], dtype=np.int16)
    packed.add("jumps", values, over_time=True)
    found = unpacked({"arrays": packed.about, "blob": packed.blob()}, "jumps")
    np.testing.assert_array_equal(found, values.ravel())
    assert in_steps(np.array([1e9, -1e9]), 1.0).tolist() == [32767, -32768]


def test_the_page_asks_for_nothing_beyond_itself(takes: list[Take]):
    page = as_html(takes)
    assert re.findall(r"https?://[^\s\"']+", page.replace("http://www.w3.org/2000/svg", "")) == []
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=\"(?!data:)", page)
    assert "{{" not in page


def test_names_are_shown_and_not_run(takes: list[Take]):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    page = as_html([replace(takes[0], title=evil, verdict=evil)], title=evil)
    assert evil not in page
    assert "<img" not in page
    block = re.search(r'<script type="application/json" id="bige-data">(.*?)</script>', page, re.DOTALL)
    assert block is not None
    assert json.loads(block[1])["takes"][0]["title"] == evil


def test_a_channel_that_one_motion_lacks_is_said_to_be_lacking(takes: list[Take]):
    bare = replace(takes[0], curves={"knee_angle_r": takes[0].curves["knee_angle_r"]}, activations=None)
    channels = {c["name"]: c["lacking"] for c in page_data([takes[0], bare], overlaid=True)["channels"]}
    assert channels["knee_angle_r"] == []
    assert channels["knee_angle_r_moment"] == [1]


def test_twenty_motions_of_a_full_body_fit_into_five_megabytes():
    motion = bige.sample_motion()
    model = bige.sample_session().model
    take = takes_of([bige.sample_session().motion], 30.0, model=model)[0]
    cut = 101
    rng = np.random.default_rng(0)
    muscles = len(take.person.paths.muscles)
    some = replace(
        take,
        **{
            n: getattr(take, n)[:cut]
            for n in ("rotation", "position", "muscle_points", "arrows", "pushing", "loads", "com")
        },
        support=type(take.support)(*(part[:cut] for part in take.support)),
        curves={n: c._replace(values=c.values[:cut]) for n, c in take.curves.items()},
    )
    assert motion.frames > cut
    moving = np.cumsum(rng.standard_normal((20, cut, 1, 1)), axis=1) * 1e-3
    many = [
        replace(some, title=f"motion_{i}", position=some.position + moving[i], activations=rng.random((cut, muscles)))
        for i in range(20)
    ]
    assert len(as_html(many)) < 5e6
