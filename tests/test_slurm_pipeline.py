"""The SLURM example hands `bige label` a command that it understands; SLURM itself is not asked."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "pipelines" / "slurm_label.py"


@pytest.fixture(scope="module")
def slurm() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("slurm_label", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_words_after_the_dashes_go_to_bige_label_with_absolute_paths(slurm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = slurm.arguments(["a", "b", "--out", "labels", "--jobs", "3", "--", "--solver", "fast", "--timeout", "60"])
    words = slurm.label_command(asked, "tcp://127.0.0.1:8786")
    _, bound, _ = slurm.app.parse_args(words, exit_on_error=False, print_error=False)
    assert bound.args == ([tmp_path / "a", tmp_path / "b"],)
    assert bound.kwargs["out"] == tmp_path / "labels"
    how, workers = bound.kwargs["how"], bound.kwargs["workers"]
    assert workers.scheduler == "tcp://127.0.0.1:8786"
    assert (how.solver, workers.timeout) == ("fast", 60.0)


def test_jobs_are_asked_for_and_the_labels_exit_status_is_the_scripts(slurm, tmp_path, monkeypatch):
    asked, scaled = {}, []

    class Cluster:
        scheduler_address = "tcp://10.0.0.1:8786"

        def __init__(self, **options):
            asked.update(options)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def scale(self, jobs):
            scaled.append(jobs)

    called = []
    monkeypatch.setitem(sys.modules, "dask_jobqueue", types.SimpleNamespace(SLURMCluster=Cluster))
    monkeypatch.setattr(slurm, "app", lambda words, result_action: called.append(words) or 1)
    monkeypatch.setattr(sys, "argv", ["slurm_label.py", str(tmp_path), "--out", str(tmp_path), "--cores", "16"])
    assert slurm.main() == 1
    assert scaled == [4]
    assert (asked["cores"], asked["processes"]) == (16, 1)
    assert called == [["label", str(tmp_path), "--out", str(tmp_path), "--scheduler", "tcp://10.0.0.1:8786"]]
