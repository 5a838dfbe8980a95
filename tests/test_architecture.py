"""Imports go one way through the rooms of the package, and the light rooms stay light."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bige_opensim"
MODULES = sorted(PACKAGE.rglob("*.py"))

BELOW = ("settings", "provenance", "motion", "io", "physics", "osim")
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"provenance", "motion", "labelling", "guidance", "validation", "workflows"},
    "built_in": set(),
    "settings": set(),
    "provenance": set(),
    "motion": set(),
    "io": {"motion"},
    "physics": {"motion"},
    "movements": {"motion"},
    "workers": set(),
    "osim": {"motion", "io", "physics"},
    "sessions": {*BELOW, "workers"},
    "doctor": {*BELOW, "sessions"},
    "labelling": {*BELOW, "sessions", "doctor", "movements", "workers"},
    "learning": {"settings", "provenance", "motion", "io", "physics", "movements"},
    "guidance": {"settings", "provenance", "motion", "io", "physics", "movements", "learning"},
    "synthesis": {*BELOW, "workers"},
    "validation": {*BELOW, "sessions", "labelling", "movements", "learning", "guidance", "workers"},
    "reporting": {*BELOW, "labelling", "movements", "learning", "guidance", "synthesis", "validation"},
    "viewer": {*BELOW, "labelling", "guidance", "validation"},
    "exporting": {*BELOW, "labelling", "viewer"},
    "workflows": {
        *BELOW, "built_in", "movements", "workers", "sessions", "doctor", "labelling", "learning", "guidance",
        "synthesis", "validation", "reporting", "viewer", "exporting",
    },
    "pipeline": {
        *BELOW, "built_in", "movements", "workers", "sessions", "labelling", "learning", "guidance", "synthesis",
        "validation", "reporting", "workflows",
    },
    "app": {
        *BELOW, "built_in", "workers", "doctor", "labelling", "learning", "guidance", "validation", "reporting",
        "viewer", "workflows",
    },
    "commands": {
        *BELOW, "built_in", "movements", "workers", "sessions", "labelling", "learning", "guidance", "synthesis",
        "validation", "reporting", "viewer", "doctor", "pipeline", "workflows", "app",
    },
    "cli": {"commands", "provenance", "workers"},
}  # fmt: skip
WITHOUT_OPENSIM = ("provenance", "motion", "io", "physics", "movements", "learning", "guidance")
WITHOUT_TORCH = ("provenance", "motion", "io", "movements")
VAGUE_NAMES = {"utils", "util", "helpers", "common", "misc", "tools"}


def label(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported anywhere in `source`, a module that lies in `package`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def imports_of(path: Path) -> list[tuple[int, str]]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return list(imports(path.read_text(encoding="utf-8"), package))


def rooms_imported(found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    names = [(line, name.split(".")) for line, name in found]
    return [(line, n[1]) for line, n in names if n[0] == "bige_opensim" and len(n) > 1 and not n[1].startswith("__")]


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )


IMPORT_WITHOUT_OPENSIM = """
import importlib, json, sys
sys.modules["opensim"] = None
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
print(json.dumps(failed))
"""


def import_failures_without_opensim(*names: str) -> dict[str, str]:
    finished = run_python(IMPORT_WITHOUT_OPENSIM, *names)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_the_table_of_rooms_has_no_cycle():
    TopologicalSorter(MAY_IMPORT).prepare()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import bige_opensim.osim.model", "bige_opensim.osim.model"),
        ("from bige_opensim import osim", "bige_opensim.osim"),
        ("from bige_opensim.osim import model", "bige_opensim.osim.model"),
        ("from ..osim import model", "bige_opensim.osim.model"),
        ("from . import terms", "bige_opensim.guidance.terms"),
        ("def f():\n    import opensim as o", "opensim"),
        ("if TYPE_CHECKING:\n    from opensim import Model", "opensim.Model"),
        ("importlib.import_module('opensim')", "opensim"),
    ],
)
def test_every_way_of_importing_is_seen(line: str, expected: str):
    assert [name for _, name in imports(line, "bige_opensim.guidance")] == [expected]


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_a_module_imports_only_from_rooms_below_its_own(path: Path):
    room = room_of(path)
    assert room in MAY_IMPORT, f"'{room}' is a new room: say in MAY_IMPORT which rooms it stands on"
    allowed = MAY_IMPORT[room] | {room}
    wrong = [f"line {line}: {other}" for line, other in rooms_imported(imports_of(path)) if other not in allowed]
    assert not wrong, f"{label(path)} may import {sorted(allowed)}, but imports {wrong}"


@pytest.mark.parametrize("path", [p for p in MODULES if room_of(p) != "osim"], ids=label)
def test_only_the_osim_room_imports_opensim(path: Path):
    wrong = [f"line {line}" for line, name in imports_of(path) if name.split(".")[0] == "opensim"]
    assert not wrong, f"{label(path)} imports opensim in {wrong}; call the osim room instead"


@pytest.mark.parametrize("path", [p for p in MODULES if room_of(p) in WITHOUT_TORCH], ids=label)
def test_motion_and_files_do_without_torch(path: Path):
    assert not [f"line {line}" for line, name in imports_of(path) if name.split(".")[0] == "torch"]


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_modules_are_named_for_their_work(path: Path):
    assert path.stem not in VAGUE_NAMES


@pytest.mark.parametrize("name", ["bige_opensim", "bige_opensim.cli"])
def test_importing_the_package_or_its_command_line_loads_neither_torch_nor_opensim(name: str):
    finished = run_python(f"import sys, {name}; print(sorted({{'torch', 'opensim'}} & set(sys.modules)))")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"


def test_the_server_of_the_app_leaves_torch_and_opensim_to_its_jobs():
    finished = run_python(
        "import sys, bige_opensim.app.server; print(sorted({'torch', 'opensim', 'scipy'} & set(sys.modules)))"
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"


HEAVY = {"torch", "opensim", "pandas", "matplotlib", "xarray", "scipy", "numpy"}


def test_importing_the_front_door_loads_nothing_heavy():
    code = f"import sys, bige_opensim; dir(bige_opensim); print(sorted({HEAVY!r} & set(sys.modules)))"
    finished = run_python(code)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"


def test_learning_is_reached_through_the_front_door_where_opensim_is_not_installed():
    names = ("repetitions", "train_surrogate", "train_generator", "load_generator", "Label")
    code = (
        f"import sys; sys.modules['opensim'] = None; import bige_opensim; [getattr(bige_opensim, n) for n in {names}]"
    )
    finished = run_python(code)
    assert finished.returncode == 0, finished.stderr


def test_an_interpreter_with_opensim_blocked_cannot_import_the_osim_room():
    assert "bige_opensim.osim.model" in import_failures_without_opensim("bige_opensim.osim.model")


def test_learning_physics_and_guidance_import_where_opensim_is_not_installed():
    names = [module_name(path) for path in MODULES if room_of(path) in WITHOUT_OPENSIM]
    rooms = {name.split(".")[1] for name in names}
    assert {"learning", "physics", "guidance"} <= rooms
    assert import_failures_without_opensim(*names) == {}
