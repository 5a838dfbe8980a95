"""What a person sees at the command line when something is wrong: one message, a failing status, no traceback."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_models import biped, write_squat

from bige_opensim.cli import GROUPS, app
from bige_opensim.commands.display import console
from bige_opensim.commands.examples import EXAMPLES
from bige_opensim.io.cache import write_entry
from bige_opensim.learning.training import TrainingConfig
from bige_opensim.workflows import train


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


@pytest.mark.parametrize("network", ["surrogate", "generator", "prior", "diffusion"])
def test_a_device_that_is_none_is_one_sentence(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--data", tmp_path / "reps.nc", "--out", tmp_path / "run", "--device", "abacus")
    assert run("train", network, *asked) == 1
    assert "device = 'abacus' cannot be used" in capsys.readouterr().err


def test_what_is_not_given_is_as_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "slow.toml").write_text("seed = 5\nepochs = 3\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "card.md").write_text("A card.")
    asked: list[TrainingConfig] = []

    def training(train_it, repetitions, out, settings, *rest) -> None:
        asked.append(settings)

    monkeypatch.setattr(train, "run_training", training)
    monkeypatch.setattr(train, "dataset_of", lambda path: path)
    monkeypatch.setattr(train, "load_generator", lambda folder: None)
    for more in ((), ("--seed", 0), ("--epochs", 7), ("--device", "cpu")):
        words = ("--data", tmp_path / "reps.nc", "--out", tmp_path / "run", "--config", tmp_path / "slow.toml", *more)
        assert run("train", "generator", *words) == 0
    assert [(c.seed, c.epochs, c.device) for c in asked] == [(5, 3, "cpu"), (0, 3, "cpu"), (5, 7, "cpu"), (5, 3, "cpu")]


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


def called() -> Iterator[str]:
    """The words that call every command."""
    for commands in GROUPS.values():
        for name, command in commands.items():
            yield from [name] if callable(command) else [f"{name} {sub}" for sub in command]


def help_of(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    app([*words.split(), "--help"], result_action="return_value", console=cyclopts_console())
    return capsys.readouterr().out


def cyclopts_console():
    from rich.console import Console

    return Console(width=400)


@pytest.mark.parametrize("words", called())
def test_the_help_of_every_command_shows_examples_that_are_understood(words: str, capsys: pytest.CaptureFixture[str]):
    shown = help_of(words, capsys)
    assert "Example" in shown
    for line in EXAMPLES[words]:
        assert line in shown
        program, *arguments = shlex.split(line)
        assert program == "bige"
        assert arguments[: len(words.split())] == words.split()
        command, _, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        assert getattr(command, "__name__", "") != "help_print"


def test_no_example_is_of_a_command_that_is_no_more():
    assert set(EXAMPLES) == set(called())


def test_help_lists_commands_by_what_a_user_is_about_to_do(capsys: pytest.CaptureFixture[str]):
    app(["--help"], result_action="return_value", console=cyclopts_console())
    shown = capsys.readouterr().out
    places = [shown.index(f"─ {title} ─") for title in GROUPS]
    assert places == sorted(places)
    for title, commands in GROUPS.items():
        part = shown[shown.index(f"─ {title} ─") :].split("╰", 1)[0]
        assert all(f"│ {name} " in part for name in commands), title
    assert "Commands" not in shown.split("Exit status")[0].replace("COMMAND", ""), "none is left without a group"
    assert "Exit status: 0 done; 1" in shown


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("lable S --out L", '"label"'),
        ("label S --outt L", "--out"),
        ("train surogate --data reps.nc", '"surrogate"'),
        ("view motions --hmtl x.html", "--html"),
        ("export motions --format cvs", '"csv"'),
        ("label S --out L --solver fats", '"fast"'),
    ],
)
def test_what_is_misspelt_is_answered_in_one_line_with_what_was_meant(
    line: str, meant: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        app(line.split())
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert shown.out == ""
    assert shown.err.startswith("bige: ")
    assert shown.err.count("\n") == 1
    assert f"Did you mean {meant}?" in shown.err


def test_json_on_standard_output_is_all_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "cache"))
    assert run("info", "--json", "-") == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["format"] == "bige-info/1"
    assert found["cache"]["entries"] == 0
    assert found["torch"] in shown.err, "the table goes to standard error"
    assert not console.stderr, "later commands print as before"
    assert run("info", "--json", tmp_path / "info.json") == 0
    assert json.loads((tmp_path / "info.json").read_text()) == found
    assert found["torch"] in capsys.readouterr().out


def test_findings_of_the_doctor_are_the_same_on_standard_output_and_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "broken.mot").write_text("Coordinates\n", encoding="utf-8")
    assert run("doctor", tmp_path / "broken.mot", "--json", tmp_path / "found.json") == 1
    capsys.readouterr()
    assert run("doctor", tmp_path / "broken.mot", "--json", "-") == 1
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "found.json").read_text())
    assert found["counts"]["error"] >= 1


def test_a_label_says_what_became_of_its_trial_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "cache"))
    model = biped(tmp_path / "biped.osim")
    motion = write_squat(model, tmp_path / "squat.mot")
    fast = ("--solver", "fast", "--geometry", "exact", "--audit", "0", "--jobs", "1", "--end", "0.3")
    one = ("--model", model, "--motion", motion, "--out", tmp_path / "label")
    assert run("label", *one, *fast, "--json", tmp_path / "nowhere" / "status.json") == 1
    assert "nowhere does not exist" in capfd.readouterr().err
    assert not (tmp_path / "label").exists(), "known before the work"
    run("label", *one, *fast, "--json", "-")
    (trial,) = json.loads(capfd.readouterr().out)["trials"]
    label = json.loads((tmp_path / "label" / "label.json").read_text())
    assert (trial["trial"], trial["status"], trial["reason"]) == ("squat", label["status"], label["reason"])


def test_the_exit_status_is_2_for_misuse_and_1_for_what_could_not_be_done(tmp_path: Path):
    """As a shell sees it, with nothing but one line on standard error."""
    for arguments, status in ((["labl"], 2), (["doctor", str(tmp_path / "nothing.mot")], 1), (["--version"], 0)):
        done = subprocess.run(
            [sys.executable, "-m", "bige_opensim.cli", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        assert done.stderr.count("\n") == (status > 0)
        assert "\x1b" not in done.stdout + done.stderr, "no colours away from a terminal"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_commands_and_options(shell: str):
    script = app.generate_completion(shell=shell)
    assert all(word in script for word in ("label", "export", "surrogate", "into-sessions"))
