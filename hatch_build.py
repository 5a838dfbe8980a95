"""Builds of the package: its C part is compiled where there is a compiler, and the wheel is pure Python where not."""

from __future__ import annotations

import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("bige_opensim", "physics", "native_build.py")


class NativeBuildHook(BuildHookInterface):
    """Compiles into the source tree, from where an editable install loads it and a wheel takes it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say in the wheel's name for which machines it is."""
        try:
            compiled = runpy.run_path(str(Path(self.root, NATIVE)))["compile_c"]()
        except RuntimeError as error:
            self.app.display_warning(f"muscles will be computed by torch alone, slower: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["artifacts"].append(compiled.relative_to(self.root).as_posix())
