"""Compile the C parts of the package: `python -m bige_opensim.physics.native_build`, or while a wheel is built.

Needs nothing but Python, so that a build without the package's dependencies can run it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = ("least_effort", "muscle_paths", "stance_loads", "ground_problem", "demand")
SOURCES = tuple(FOLDER / f"{name}.c" for name in NAMES)
HEADERS = tuple(FOLDER / f"{name}.h" for name in ("lanes", "skeleton_motion"))
COMPILERS = ("cc", "gcc", "clang")


def library_path(folder: Path = FOLDER) -> Path:
    """Where the compiled sources lie.

    The name has a hash of the sources, so that none of another version is loaded, and no ending that Python takes for a
    module of its own.
    """
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in (*HEADERS, *SOURCES)))
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
    command = [
        *compiler,
        "-O3",
        "-std=gnu99",
        "-fno-math-errno",
        "-shared",
        "-fPIC",
        "-o",
        str(fresh),
        *map(str, SOURCES),
        "-lm",
    ]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except OSError as error:
        raise RuntimeError(f"{compiler[0]} does not start: {error}") from error
    except subprocess.CalledProcessError as error:
        fresh.unlink(missing_ok=True)
        raise RuntimeError(f"{compiler[0]} does not compile the physics: {error.stderr}") from error
    for other in folder.glob("*.native"):
        if other != target:
            other.unlink()
    fresh.replace(target)
    return target


if __name__ == "__main__":
    compile_c()
