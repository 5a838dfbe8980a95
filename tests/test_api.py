"""The front door: its names are a contract, it loads nothing, changes nothing, and works without a main guard."""

import ast
import importlib
import inspect
import pkgutil
import types
from functools import partial
from pathlib import Path

import pytest
from front_door import run_script, small_session
from generated_motions import vasti_between
from pandas.testing import assert_frame_equal
from xarray.testing import assert_equal

import bige_opensim as bige
from bige_opensim.physics.effort_cost import EffortCostError
from bige_opensim.settings import SettingError

PROMISED = {
    "read_motion", "label", "label_sessions", "repetitions", "train_surrogate", "train_generator", "load_surrogate",
    "load_generator", "predict", "solve", "generate", "validate", "report", "view", "sample_session", "sample_motion",
    "export", "Motion", "Label", "Certificate", "Generated",
}  # fmt: skip
PACKAGE = Path(bige.__file__).parent


def names_for_type_checkers() -> set[str]:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    return {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_every_promised_name_is_there_for_readers_editors_and_type_checkers():
    assert set(bige.__all__) >= PROMISED
    assert set(bige.__all__) <= set(dir(bige))
    assert names_for_type_checkers() == set(bige.__all__)
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("name", sorted(bige.__all__))
def test_a_public_name_is_documented_and_typed(name: str):
    thing = getattr(bige, name)
    assert thing.__name__ == name
    assert inspect.getdoc(thing)
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
        explained = inspect.getdoc(thing)
        missing = [p for p in signature.parameters if p not in explained]
        assert not missing or "arguments" in explained, f"{name} does not explain {missing}"


def test_no_module_takes_the_place_of_a_public_name():
    for found in pkgutil.walk_packages([str(PACKAGE)], "bige_opensim."):
        importlib.import_module(found.name)
    taken = [name for name in bige.__all__ if isinstance(getattr(bige, name), types.ModuleType)]
    assert taken == []


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lable'"):
        bige.lable  # noqa: B018


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: bige.label("q.mot", model="m.osim", solver="fsat"), "solver = 'fsat'.*opensim, fast.*mean 'fast'"),
        (lambda: bige.label("q.mot", model="m.osim", grf="estimate"), "estimated, measured, auto, none"),
        (lambda: bige.label("q.mot", model="m.osim", geometry="exakt"), "polynomial, exact"),
        (lambda: bige.label("q.mot", model="m.osim", units="deg"), "degrees, radians"),
        (lambda: bige.label("q.mot", model="m.osim", audit=2), "from 0 to 1"),
        (lambda: bige.label("q.mot", model="m.osim", cutoff_hz=-1), "from 0 to 1000 Hz"),
        (lambda: bige.label("q.mot", model="m.osim", forces="f.mot", grf="none"), "contradict"),
        (lambda: bige.label("q.mot", model="m.osim", forces="f.mot", external_loads="x.xml"), "name one"),
        (lambda: bige.label_sessions("nowhere", out="labels", solver="open"), "opensim, fast"),
        (lambda: bige.solve("setup.xml", geometry="exakt"), "auto, polynomial, exact.*mean 'exact'"),
        (lambda: bige.read_motion("q.mot", model="m.osim", units="deg"), "degrees, radians"),
        (
            lambda: bige.generate("o.toml", model="m.osim", generator="g", surrogate="s", predictor="phisics"),
            "surrogate, physics.*mean 'physics'",
        ),
        (
            lambda: bige.generate("o.toml", model="m.osim", generator="g", surrogate="s", count=0),
            "from 1 to 1000 motions",
        ),
    ],
)
def test_a_setting_that_is_none_of_its_values_raises_at_once_and_names_them(call, says):
    """At once: none of the files that are named exists, and none is asked for."""
    with pytest.raises(SettingError, match=says):
        call()


@pytest.mark.parametrize("label", [bige.label, partial(bige.label_sessions, out="labels")])
@pytest.mark.parametrize(
    ("cost", "says"),
    [
        ({"weights": {"vas*": 2.0}}, "no weights of muscles"),
        ({"passive": True}, "no passive fibre forces"),
        ({"exponent": 1.0}, "must be above 1"),
        ({"weights": {"vas*": -1.0}, "solver": "fast"}, "must be above 0"),
    ],
)
def test_a_cost_that_cannot_be_raises_at_once(label, cost, says):
    named = {} if isinstance(label, partial) else {"model": "m.osim"}
    with pytest.raises(EffortCostError, match=says):
        label("nowhere", **named, **cost)


def test_a_movement_without_a_rule_raises_and_names_those_that_have_one(tmp_path):
    with pytest.raises(ValueError, match="squat, sit-to-stand"):
        bige.repetitions(tmp_path, movement="sqat")


UNGUARDED = """
import os, sys, threading
with open("times_run.txt", "a") as file:
    file.write("run\\n")
import torch, opensim
import bige_opensim as bige
opensim.Logger.setLevelString("Warn")
torch.set_num_threads(2)
before = sorted(os.listdir(".")), dict(os.environ)
fast = dict(solver="fast", geometry="exact", audit=0)
{call}
for one in labels:
    print(one.trial, one.passed, len(one.activations))
print(opensim.Logger.getLevelString(), torch.get_num_threads())
print(sorted(set(os.listdir(".")) - set(before[0])), dict(os.environ) == before[1])
print([t.name for t in threading.enumerate() if not t.daemon])
"""
PLAIN = 'labels = bige.label_sessions("session", out="labels", jobs=2, **fast)'
IN_A_RUNNING_LOOP = f"""
import asyncio
async def cell():
    global labels
    {PLAIN}
asyncio.run(cell())
"""


@pytest.mark.parametrize("call", [PLAIN, IN_A_RUNNING_LOOP], ids=["script", "running event loop, as in a notebook"])
def test_a_script_without_a_main_guard_runs_once_and_finds_everything_as_it_was(tmp_path, own_cache, call):
    small_session(tmp_path / "session", frames=30)
    printed = run_script(UNGUARDED.format(call=call), tmp_path)
    assert (tmp_path / "times_run.txt").read_text() == "run\n", "workers must not run the user's script again"
    lines = printed.splitlines()
    assert lines == [
        "squat1 True 30",
        "squat2 True 30",
        "Warn 2",
        "['labels'] True",
        "['MainThread']",
    ]


def test_a_notebook_labels_with_workers(tmp_path, own_cache):
    nbformat = pytest.importorskip("nbformat", reason="notebooks are run where Jupyter is installed (extra docs)")
    nbclient = pytest.importorskip("nbclient", reason="notebooks are run where Jupyter is installed (extra docs)")
    small_session(tmp_path / "session", ("squat1",), frames=30)
    cells = [
        "import bige_opensim as bige",
        'labels = bige.label_sessions("session", out="labels", solver="fast", geometry="exact", audit=0)',
        "labels[0]",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = book.cells[-1].outputs[0]["data"]
    assert shown["text/plain"].startswith("<Label session/squat1: passed. 30 frames")
    assert "<svg" in shown["text/html"]
    assert "reserves" in shown["text/html"]


SNIPPET = """
import bige_opensim as bige

session = bige.sample_session()
motion = bige.read_motion(session.motion, model=session.model)              # Motion
label = bige.label(motion, model=session.model, solver="fast")              # Label
label.activations, label.ground_forces, label.moments
label.passed, label.gates, label.reason
label.plot(["vasmed_r", "vasmed_l"]); label.save("labels/squat")
labels = bige.label_sessions(session, out="sessions", jobs=2)
reps = bige.repetitions(labels)
surrogate = bige.train_surrogate(reps, out="runs/surrogate")
found = bige.generate("objective.toml", model=session.model, count=20)      # built-in networks unless given
certificates = bige.validate(found, jobs=2)
bige.report(found, "report.html"); bige.view(found)
"""
"""Section by section what a lab writes; only names of files are those of the sample."""
SHORT = (
    ('out="sessions", jobs=2', 'out="sessions", jobs=2, solver="fast", audit=0'),
    ('solver="fast")', 'solver="fast", end=2.0)'),
    ('out="runs/surrogate"', 'out="runs/surrogate", epochs=3'),
    ("count=20", "count=1, iterations=4, rehearsals=1"),
)
AFTERWARDS = """
print(type(motion).__name__, motion.frames, motion.names[0])
print(label.activations.shape[1], label.activations.index.name, label.passed, sorted(label.gates)[0])
print(label.moments["knee_angle_r_moment"].abs().max() > 10, label.ground_forces["ground_force_r_vy"].mean() > 200)
print(len(labels), reps.sizes["repetition"], type(surrogate).__name__)
print(len(found), len(certificates), type(certificates[0]).__name__, type(certificates[0].confirmed).__name__)
print(list(certificates[0].to_frame().index))
print(bige.Label.load("labels/squat").activations.equals(label.activations))
print(found.save("motions").name)
"""
OBJECTIVE = vasti_between(0.2, 0.6, title="Vasti at work", paced=False)


def check_snippet(code: str, folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "objective.toml").write_text(OBJECTIVE, encoding="utf-8")
    lines = run_script(code + AFTERWARDS, folder, timeout_s=3600).splitlines()
    assert lines == [
        "Motion 381 pelvis_tilt",
        "80 time True failed_frames",
        "True True",
        "1 4 Surrogate",
        f"{count} {count} Certificate bool",
        "['vastus medialis peak']",
        "True",
        "motions",
    ]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "motion_01" in page
    assert "Vasti at work" in page
    assert (folder / "motions/motion_01/certificate.json").is_file()
    assert {p.name for p in folder.iterdir()} == {
        "script.py", "objective.toml", "labels", "sessions", "runs", "report.html", "motions",
    }  # fmt: skip


def test_what_a_lab_writes_runs_on_the_sample(tmp_path, own_cache):
    code = SNIPPET
    for long, short in SHORT:
        assert long in code
        code = code.replace(long, short)
    check_snippet(code, tmp_path / "work", 1)


@pytest.mark.slow
def test_what_a_lab_writes_runs_on_the_sample_as_it_stands(tmp_path):
    check_snippet(SNIPPET, tmp_path / "work", 20)


def test_the_sample_is_small_synthetic_and_labelled_with_every_gate_passed(own_cache, tmp_path):
    session = bige.sample_session()
    archive = PACKAGE / "sample_data/session.zip"
    assert archive.stat().st_size < 300_000
    assert "synthetic: true" in (session.path / "sessionMetadata.yaml").read_text(encoding="utf-8")
    motion = bige.sample_motion()
    assert_frame_equal(motion.to_frame(), bige.read_motion(session.motion, model=session.model).to_frame())
    label = bige.label(motion, model=session.model, solver="fast", audit=0)
    assert label.passed, label.reason
    assert label.activations["vasmed_r"].max() > 0.2
    reps = bige.repetitions(label)
    assert reps.sizes["repetition"] == 4
    label.save(tmp_path / label.session / label.trial)
    from_files = bige.repetitions(tmp_path, out=tmp_path / "reps.nc")
    assert_equal(from_files, reps)
    assert from_files.attrs == reps.attrs
