"""Compile the C parts of the package: `python -m bige_opensim.physics.native_build`, or while a wheel is built.

Needs nothing but Python, so that a build without the package's dependencies can run it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

FOLDER = Path(__file__).parent
LEVEL = FOLDER / "level.c"
NAMES = ("least_effort", "muscle_paths", "stance_loads", "ground_problem", "demand")
SOURCES = tuple(FOLDER / f"{name}.c" for name in NAMES)
HEADERS = tuple(FOLDER / f"{name}.h" for name in ("lanes", "skeleton_motion"))
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O3", "-std=gnu99", "-fno-math-errno", "-fPIC")

WIDTHS: dict[str, tuple[str, ...]] = {
    "": (),
    "_256": ("-DLANES=4", "-DLEVEL=_256", "-mavx2", "-mfma"),
    "_512": ("-DLANES=8", "-DLEVEL=_512", "-mavx512f", "-mavx512dq", "-mavx2", "-mfma", "-mprefer-vector-width=512"),
}
"""Vectors of what every processor has, two doubles, and of wider ones of x86-64, with what their functions end with."""


def library_path(folder: Path = FOLDER) -> Path:
    """Where the compiled sources lie.

    The name has a hash of the sources, so that none of another version is loaded, and no ending that Python takes for a
    module of its own.
    """
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in (*HEADERS, LEVEL, *SOURCES)))
    return folder / f"physics_{digest.hexdigest()[:12]}.native"


def compile_c(folder: Path = FOLDER) -> Path:
    """Compile into `folder` with `CC`, or the first of the usual compilers.

    Raises
    ------
    RuntimeError
        There is no C compiler, or it fails.

    """
    compiler = os.environ.get("CC", "").split() or next(([c] for c in COMPILERS if shutil.which(c)), [])
    if not compiler:
        raise RuntimeError(f"no C compiler: neither CC nor {', '.join(COMPILERS)} names one")
    target = library_path(folder)
    fresh = target.with_suffix(f".{os.getpid()}")
    machine = _run([*compiler, "-dumpmachine"])
    widths = WIDTHS if machine.startswith("x86_64") else {"": WIDTHS[""]}
    wider = ["-DWIDER"] if len(widths) > 1 else []
    with TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = {Path(scratch, "level.o"): (LEVEL, wider)}
        for name, flags in widths.items():
            parts |= {Path(scratch, f"{source.stem}{name}.o"): (source, list(flags)) for source in SOURCES}
        made = [
            pool.submit(_run, [*compiler, *FLAGS, *flags, "-c", "-o", str(part), str(source)])
            for part, (source, flags) in parts.items()
        ]
        for one in made:
            one.result()
        try:
            _run([*compiler, "-shared", "-o", str(fresh), *map(str, parts), "-lm"])
        except RuntimeError:
            fresh.unlink(missing_ok=True)
            raise
    for other in folder.glob("*.native"):
        if other != target:
            other.unlink()
    fresh.replace(target)
    return target


def _run(command: list[str]) -> str:
    """What a compiler says that is asked or compiles."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except OSError as error:
        raise RuntimeError(f"{command[0]} does not start: {error}") from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{command[0]} does not compile the physics: {error.stderr}") from error


if __name__ == "__main__":
    compile_c()
