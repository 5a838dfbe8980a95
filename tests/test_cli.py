"""What a person sees at the command line when something is wrong: one message, a failing status, no traceback."""

from pathlib import Path

import pytest

from bige_opensim.cli import app
from bige_opensim.io.cache import write_entry


def run(*arguments: object) -> int:
    return app([str(a) for a in arguments], result_action="return_value") or 0


def test_label_needs_sessions_or_a_model_with_a_motion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("label", "--out", tmp_path / "out") == 1
    assert "--model and --motion" in capsys.readouterr().err


def test_label_refuses_a_motion_without_its_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("label", "--motion", tmp_path / "q.mot", "--out", tmp_path / "out") == 1
    assert "name both" in capsys.readouterr().err


def test_label_of_a_folder_without_sessions_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("label", tmp_path, "--out", tmp_path / "out") == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_an_unreadable_model_ends_the_trial_with_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, motion, out = tmp_path / "broken.osim", tmp_path / "q.mot", tmp_path / "out"
    model.write_text("<OpenSimDocument><Model", encoding="utf-8")
    motion.write_text("Coordinates\n", encoding="utf-8")
    assert run("label", "--model", model, "--motion", motion, "--out", out) == 1
    shown = capsys.readouterr()
    assert "broken.osim" in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err
    assert not out.exists()
    assert not list(tmp_path.glob(".out.partial*"))


def test_dataset_of_an_empty_folder_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dataset", tmp_path, "--out", tmp_path / "reps.nc") == 1
    assert str(tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "reps.nc").exists()


def test_training_without_data_says_how_to_make_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "surrogate", "--data", tmp_path / "reps.nc", "--out", tmp_path / "run") == 1
    assert "bige dataset" in capsys.readouterr().err


def test_validate_refuses_a_folder_without_motions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", tmp_path) == 1
    assert "bige generate" in capsys.readouterr().err


def test_info_shows_the_cache_and_clears_it(tmp_path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BIGE_CACHE_SIZE", "20 MB")
    write_entry("thing", bytes(3_000_000))
    run("info")
    assert "1 entries, 3.0 MB of at most 20.0 MB" in capsys.readouterr().out
    run("info", "--clear-cache")
    said = capsys.readouterr().out
    assert "0 entries, 0.0 MB" in said
    assert "1 entries of the cache removed, 3.0 MB" in said
    assert not list((tmp_path / "cache").iterdir())
