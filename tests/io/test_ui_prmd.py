import gzip
from pathlib import Path

import numpy as np
import pytest

from bige_opensim.io.ui_prmd import MARKERS, UiPrmdError, find_clips, generic_places, read_clip

FRAMES = 4


def vicon(*, facing: float = 1.0) -> np.ndarray:
    """Frames of markers in mm, Z up, of a figure whose toes lie `facing` (1 or -1) along x of its heels."""
    p = np.random.default_rng(0).uniform(100.0, 900.0, (FRAMES, len(MARKERS), 3))
    for side, y in (("L", 150.0 * facing), ("R", -150.0 * facing)):
        p[:, MARKERS.index(f"{side}HEE")] = (0.0, y, 40.0)
        p[:, MARKERS.index(f"{side}TOE")] = (180.0 * facing, y, 40.0)
    p[:, MARKERS.index("C7")] = (0.0, 0.0, 1500.0)
    return p


def written(folder: Path, p: np.ndarray, name: str = "m01_s01_e01_positions.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(",".join(f"{x:.6f}" for x in row) for row in p.reshape(len(p), -1))
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["m01_s01_e01_positions.txt", "m01_s01_e01_positions.txt.gz"])
@pytest.mark.parametrize("facing", [1.0, -1.0])
def test_positions_come_in_metres_y_up_facing_x_with_the_right_foot_at_positive_z(tmp_path: Path, name, facing):
    m = read_clip(written(tmp_path, vicon(facing=facing), name))
    of = {n: m.positions[:, m.names.index(n)] for n in MARKERS}
    np.testing.assert_allclose(of["C7"][:, 1], 1.5)
    np.testing.assert_allclose(of["LTOE"][:, 0] - of["LHEE"][:, 0], 0.18, atol=1e-6)
    np.testing.assert_allclose(of["RHEE"][:, 2], 0.15, atol=1e-6)
    assert m.rate_hz == 100.0


def test_zeros_are_markers_that_were_not_seen(tmp_path: Path):
    p = vicon()
    p[1, MARKERS.index("LASI")] = 0.0
    m = read_clip(written(tmp_path, p))
    missing = np.argwhere(np.isnan(m.positions).any(axis=2))
    assert missing.tolist() == [[1, MARKERS.index("LASI")]]


def damaged(kind: str) -> bytes:
    text = "\n".join(",".join(f"{x:.3f}" for x in row) for row in vicon().reshape(FRAMES, -1))
    return {
        "empty": b"",
        "binary": bytes(range(256)) * 20,
        "cut row": text[:-40].rsplit(",", 1)[0].encode(),
        "one row": text.split("\n")[0].encode(),
        "words": text.replace("40.000", "forty", 1).encode(),
        "nan": text.replace("40.000", "nan", 1).encode(),
        "cut gzip": gzip.compress(text.encode())[:-30],
        "sideways": "\n".join(
            ",".join(f"{x:.3f}" for x in row) for row in vicon()[:, :, [1, 0, 2]].reshape(FRAMES, -1)
        ).encode(),
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "binary", "cut row", "one row", "words", "nan", "cut gzip", "sideways"])
def test_damaged_files_are_refused_with_their_name(tmp_path: Path, kind: str):
    path = tmp_path / "m01_s01_e01_positions.txt.gz"
    path.write_bytes(damaged(kind))
    with pytest.raises(UiPrmdError, match="m01_s01_e01_positions"):
        read_clip(path)


def test_clips_are_found_by_subject_with_the_correct_ones_first(tmp_path: Path):
    for name in (
        "incorrect/m01_s02_e01_positions.txt.gz",
        "correct/m01_s02_e02_positions.txt.gz",
        "deep/m01_s01_e03_positions.txt",
        "deep/m01_s01_e01_positions_inc.txt",
        "deep/m02_s01_e01_positions.txt",
        "deep/m01_s01_e01_angles.txt",
    ):
        written(tmp_path, vicon(), name)
    assert [clip.name for clip in find_clips(tmp_path)] == [
        "m01_s01_e03_correct",
        "m01_s01_e01_incorrect",
        "m01_s02_e02_correct",
        "m01_s02_e01_incorrect",
    ]
    assert [clip.name for clip in find_clips(tmp_path, "m02")] == ["m02_s01_e01_correct"]


@pytest.mark.parametrize("make", [True, False])
def test_a_folder_without_clips_is_refused(tmp_path: Path, make: bool):
    folder = tmp_path / "raw"
    if make:
        folder.mkdir()
    with pytest.raises(UiPrmdError, match="no UI-PRMD positions"):
        find_clips(folder)


def test_every_marker_has_a_mirrored_place(unchecked_shapes):
    places = generic_places()
    assert tuple(places) == MARKERS
    for name, (body, (x, y, z)) in places.items():
        if name[0] == "L":
            other, place = places["R" + name[1:]]
            assert place == (x, y, -z)
            assert other == body.replace("_l", "_r")


def test_the_real_recordings_are_people_who_squat(shared_data: Path):
    clips = find_clips(shared_data / "data/ui_prmd")
    assert len(clips) == 160
    for clip in clips[::20]:
        m = read_clip(clip.path)
        c7 = m.positions[:, m.names.index("C7"), 1]
        assert 1.2 < np.nanmax(c7) < 1.8
        right = m.positions[:, m.names.index("RTOE"), 2] - m.positions[:, m.names.index("LTOE"), 2]
        assert np.nanmedian(right) > 0.1
