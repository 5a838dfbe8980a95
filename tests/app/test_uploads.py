"""Hostile files are refused with a sentence, and leave nothing outside their folder."""

import io
import pickle
import random
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from bige_opensim.app.places import safe_name
from bige_opensim.app.uploads import UploadError, UploadLimits, accepted_name, check_beginning, check_model, unpack
from bige_opensim.workflows.sample import sample_session

SMALL = UploadLimits(file_bytes=10**6, unpacked_bytes=10**6, files=50, ratio=20.0)


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def test_a_session_comes_out_as_it_went_in_without_what_is_not_taken(tmp_path: Path):
    session = sample_session()
    path = tmp_path / "session.zip"
    with zipfile.ZipFile(path, "w") as made:
        for file in session.path.rglob("*"):
            made.write(file, Path("OpenCapData") / file.relative_to(session.path))
        made.writestr("OpenCapData/Videos/cam.mov", b"film")
        made.writestr("OpenCapData/run.py", b"print()")
        made.writestr("__MACOSX/OpenCapData/._squats1.mot", b"junk")
    found = unpack(path, tmp_path / "out")
    assert {p.suffix for p in found} <= {".osim", ".mot", ".yaml", ".trc"}
    motion = tmp_path / "out/OpenCapData/OpenSimData/Kinematics/squats1.mot"
    assert motion.read_bytes() == session.motion.read_bytes()
    assert not list((tmp_path / "out").rglob("*.py"))


@pytest.mark.parametrize(
    "name",
    ["../evil.mot", "/etc/evil.mot", "a/../../evil.mot", "..\\evil.mot", "C:\\evil.mot", "C:evil.mot",
     "a/b/../../../e.mot", "/".join("d" * 20) + "/e.mot"],
)  # fmt: skip
def test_members_that_would_leave_the_folder_are_refused(tmp_path: Path, name: str):
    with pytest.raises(UploadError, match="outside its own folder"):
        unpack(archive(tmp_path / "a.zip", **{name: b"x"}), tmp_path / "in" / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) in (["a.zip"], ["a.zip", "in"])
    assert not (tmp_path / "in" / "out").exists()


def test_links_are_refused(tmp_path: Path):
    link = zipfile.ZipInfo("link.mot")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(link, "/etc/passwd")
    with pytest.raises(UploadError, match="links"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_bomb_is_refused_by_its_ratio_before_it_is_unpacked_whole(tmp_path: Path):
    bomb = archive(tmp_path / "a.zip", **{"zeros.mot": bytes(50_000_000)})
    assert bomb.stat().st_size < 100_000
    with pytest.raises(UploadError, match="too large when unpacked"):
        unpack(bomb, tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


def test_many_members_of_one_small_bomb_are_counted_together(tmp_path: Path):
    bomb = archive(tmp_path / "a.zip", **{f"{i}.mot": bytes(600_000) for i in range(8)})
    with pytest.raises(UploadError, match="too large when unpacked"):
        unpack(bomb, tmp_path / "out", SMALL)


def test_a_size_that_the_archive_lies_about_is_counted(tmp_path: Path):
    path = archive(tmp_path / "a.zip", **{"zeros.mot": bytes(5_000_000)})
    data = path.read_bytes()
    size = struct.pack("<I", 5_000_000)
    assert data.count(size) >= 2
    path.write_bytes(data.replace(size, struct.pack("<I", 10)))
    with pytest.raises(UploadError):
        unpack(path, tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


def test_too_many_files_and_two_of_one_name_are_refused(tmp_path: Path):
    with pytest.raises(UploadError, match="51 files; up to 50"):
        unpack(archive(tmp_path / "a.zip", **{f"{i}.mot": b"x" for i in range(51)}), tmp_path / "out", SMALL)
    with pytest.raises(UploadError, match="two files of one name"):
        unpack(archive(tmp_path / "b.zip", **{"a.mot": b"x", "A.mot": b"y"}), tmp_path / "out", SMALL)


def test_an_archive_in_an_archive_is_not_opened(tmp_path: Path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as made:
        made.writestr("a.mot", b"x")
    found = unpack(archive(tmp_path / "a.zip", **{"b.zip": inner.getvalue(), "c.mot": b"y"}), tmp_path / "out")
    assert [p.name for p in found] == ["c.mot"]


@pytest.mark.parametrize("name", ["a.pkl", "a.py", "a", "a.zip.exe", "a.xml", ".mot", "..", "a.mot/"])
def test_other_kinds_of_files_are_refused_by_name(name: str):
    with pytest.raises(UploadError, match="not taken"):
        accepted_name(name)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("../../etc/pass.mot", "pass.mot"), ("C:\\x\\squat.MOT", "squat.MOT"), ("<img src=x>.osim", "_img src_x_.osim"),
     ("a\0b.mot", "a_b.mot"), ("..zip", "zip"), ("x" * 300 + ".mot", "x" * 76 + ".mot")],
)  # fmt: skip
def test_names_become_harmless(name: str, kept: str):
    assert safe_name(name) == kept
    assert "/" not in kept
    assert len(kept) <= 80


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.zip", pickle.dumps({"a": 1})), ("a.mot", pickle.dumps([0.0] * 9)), ("a.osim", pickle.dumps("x")),
     ("a.osim", b"name=x"), ("a.zip", b"PK"), ("a.mot", b"\x7fELF\0"), ("a.sto", b"")],
)  # fmt: skip
def test_pickles_and_programs_under_other_names_are_refused(tmp_path: Path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UploadError):
        check_beginning(path)


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><OpenSimDocument>&b;</OpenSimDocument>'
)


@pytest.mark.parametrize(
    "text",
    [LAUGHS, '<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "<x>", "<x><mesh_file>/etc/passwd</mesh_file></x>",
     "<x><mesh_file>../../other.vtp</mesh_file></x>", "<x><filename>C:\\other.sto</filename></x>"],
)  # fmt: skip
def test_models_with_entities_or_files_of_other_places_are_refused(tmp_path: Path, text: str):
    path = tmp_path / "m.osim"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UploadError):
        check_model(path)


def test_a_real_model_is_taken():
    check_model(sample_session().model)


def test_mutated_archives_are_unpacked_inside_or_refused_and_nothing_else(tmp_path: Path):
    members = {"s/OpenSimData/Model/a.osim": b"<OpenSimDocument/>", "s/OpenSimData/Kinematics/b.mot": b"nRows=1\n" * 40}
    good = archive(tmp_path / "good.zip", **members).read_bytes()
    draw, place, refused = random.Random(15), tmp_path / "in", 0
    place.mkdir()
    for i in range(300):
        data = bytearray(good)
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        bad = place / "bad.zip"
        bad.write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
        try:
            found = unpack(bad, place / f"out{i}", SMALL)
        except UploadError:
            refused += 1
            assert not (place / f"out{i}").exists()
        else:
            assert all(p.resolve().is_relative_to(place / f"out{i}") for p in found)
    assert 30 < refused < 300
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.zip", "in"]
