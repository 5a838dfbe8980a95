"""Setup files of OpenSim's AnalyzeTool with a StaticOptimization, as laboratories keep them."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from bige_opensim.io.xml_document import read_xml

LARGEST_PRECISION = 30
"""More than any double has; OpenSim's own example setups ask for 20."""

NOT_USED = (
    "results_directory",
    "solve_for_equilibrium_for_auxiliary_states",
    "maximum_number_of_integrator_steps",
    "maximum_integrator_step_size",
    "minimum_integrator_step_size",
    "integrator_error_tolerance",
    "integrator_fine_tolerance",
)
"""Properties of every tool that mean nothing to static optimization over recorded states."""

SAYS_NOTHING = {
    "lowpass_cutoff_frequency_for_load_kinematics": ("-1",),
    "print_result_files": ("true",),
}
"""Values of properties of older documents, beside empty ones, that ask for nothing."""

TOOL = (
    "model_file", "replace_force_set", "force_set_files", "output_precision", "initial_time", "final_time",
    "external_loads_file", "states_file", "coordinates_file", "speeds_file",
    "lowpass_cutoff_frequency_for_coordinates",
)  # fmt: skip
ANALYSIS = (
    "on", "start_time", "end_time", "step_interval", "in_degrees", "use_model_force_set", "activation_exponent",
    "use_muscle_physiology", "optimizer_convergence_criterion", "optimizer_max_iterations",
)  # fmt: skip


class AnalyzeSetupError(ValueError):
    """A setup file that cannot be used, or that asks for what is not done here."""


@dataclass(frozen=True)
class AnalyzeSetup:
    """What a setup asks for; files as absolute paths, resolved against the setup's folder as OpenSim does.

    Attributes
    ----------
    path, name, analysis
        The file, the name of the tool and of its analysis, with which OpenSim's result files begin.
    model, force_sets, replace_force_set
        The model, files of forces added to it, and whether they stand in for its own.
    coordinates, states, external_loads
        Recorded coordinates, or else states, and the external loads, if any.
    start, end
        First and last time, s; the samples at or before them are the first and last that are solved.
    cutoff_hz
        Low-pass cut-off of the coordinates, None for none.
    interval
        Every so many samples are solved.
    exponent, muscle_physiology
        Exponent of the cost; whether muscles have their force-length-velocity curves or their isometric force always.
    precision
        Digits behind the decimal point in result files.
    notes
        Sentences on what the setup says and OpenSim ignores.

    """

    path: Path
    name: str
    analysis: str
    model: Path
    force_sets: tuple[Path, ...]
    replace_force_set: bool
    coordinates: Path | None
    states: Path | None
    external_loads: Path | None
    start: float
    end: float
    cutoff_hz: float | None
    interval: int
    exponent: float
    muscle_physiology: bool
    precision: int
    notes: tuple[str, ...]

    def result_name(self, what: str) -> str:
        """Beginning of the name of a result file: activation, force or controls."""
        return f"{self.name}_{self.analysis}_{what}"


def read_analyze_setup(path: Path | str) -> AnalyzeSetup:
    """Read and check a setup; files that it names exist.

    Raises
    ------
    AnalyzeSetupError
        The file is no setup of an AnalyzeTool with one StaticOptimization, names files that do not exist, or asks for
        what is not done here, which the message names.

    """
    path = Path(path).absolute()
    what = "the setup of an AnalyzeTool with a StaticOptimization"
    root = read_xml(path, AnalyzeSetupError, what)
    tool = root if root.tag == "AnalyzeTool" else next(iter(root), root)
    if tool.tag != "AnalyzeTool":
        raise AnalyzeSetupError(f"{path}: holds a <{tool.tag}>; expected {what}.")
    analysis = _only_static_optimization(path, tool)
    _refuse_controllers(path, tool)
    said = _Properties(path, tool, (*TOOL, *NOT_USED), apart=("AnalysisSet", "ControllerSet"))
    does = _Properties(path, analysis, ANALYSIS)
    if not does.truth("on", True):
        raise AnalyzeSetupError(f"{path}: its StaticOptimization is off (<on>); write true to have it solved.")
    if not does.truth("use_model_force_set", True):
        raise AnalyzeSetupError(
            f"{path}: <use_model_force_set> false leaves the muscles out, which is inverse dynamics and not done here; "
            "write true."
        )
    if said.text("speeds_file"):
        raise AnalyzeSetupError(
            f"{path}: <speeds_file> is not supported; leave it empty and speeds are derived from the coordinates."
        )
    files = {tag: said.file(tag) for tag in ("model_file", "coordinates_file", "states_file", "external_loads_file")}
    model = files["model_file"]
    if model is None:
        raise AnalyzeSetupError(f"{path}: <model_file> is empty; name the .osim file there.")
    notes = _notes(path, files, does)
    if files["states_file"] is None and files["coordinates_file"] is None:
        raise AnalyzeSetupError(f"{path}: neither <coordinates_file> nor <states_file> is given; name one of them.")
    start, end = said.number("initial_time", 0.0), said.number("final_time", 1.0)
    if not start <= end:
        raise AnalyzeSetupError(f"{path}: <initial_time> {start:g} s comes after <final_time> {end:g} s; correct them.")
    cutoff = said.number("lowpass_cutoff_frequency_for_coordinates", -1.0)
    exponent = does.number("activation_exponent", 2.0)
    if not 1.0 < exponent < math.inf:
        raise AnalyzeSetupError(f"{path}: <activation_exponent> must be above 1; got {exponent:g}.")
    if cutoff == 0:
        raise AnalyzeSetupError(
            f"{path}: <lowpass_cutoff_frequency_for_coordinates> 0 takes all motion away; write -1 for no filter."
        )
    return AnalyzeSetup(
        path=path,
        name=_name(path, tool, ""),
        analysis=_name(path, analysis, "StaticOptimization"),
        model=model,
        force_sets=said.files("force_set_files"),
        replace_force_set=said.truth("replace_force_set", False),
        coordinates=files["coordinates_file"] if files["states_file"] is None else None,
        states=files["states_file"],
        external_loads=files["external_loads_file"],
        start=start,
        end=end,
        cutoff_hz=cutoff if cutoff > 0 and files["states_file"] is None else None,
        interval=does.count("step_interval", 1, largest=10**9),
        exponent=exponent,
        muscle_physiology=does.truth("use_muscle_physiology", True),
        precision=said.count("output_precision", 8, largest=LARGEST_PRECISION),
        notes=notes,
    )


def _only_static_optimization(path: Path, tool: ElementTree.Element) -> ElementTree.Element:
    found = [analysis for group in tool.findall("AnalysisSet") for analysis in group.findall("objects/*")]
    kinds = [analysis.tag for analysis in found]
    if kinds == ["StaticOptimization"]:
        return found[0]
    if not kinds:
        raise AnalyzeSetupError(f"{path}: has no analysis; expected one StaticOptimization in its <AnalysisSet>.")
    working = [a for a in found if (a.findtext("on") or "true").strip().lower() != "false"]
    if [a.tag for a in working] == ["StaticOptimization"]:
        return working[0]
    raise AnalyzeSetupError(
        f"{path}: asks for {', '.join(kinds)}; only one StaticOptimization is done here. Put the other analyses into "
        "a setup of their own, or switch them off (<on>false</on>)."
    )


def _refuse_controllers(path: Path, tool: ElementTree.Element) -> None:
    kinds = [item.tag for group in tool.findall("ControllerSet") for item in group.findall("objects/*")]
    if kinds:
        raise AnalyzeSetupError(
            f"{path}: has controllers ({', '.join(kinds)}), which static optimization leaves out; remove them."
        )


def _name(path: Path, element: ElementTree.Element, default: str) -> str:
    name = element.get("name", default)
    if not name.isprintable() or any(c in name for c in "/\\\0") or name.startswith("."):
        raise AnalyzeSetupError(f"{path}: the name {name!r} of <{element.tag}> cannot begin file names; rename it.")
    return name


def _notes(path: Path, files: dict[str, Path | None], does: _Properties) -> tuple[str, ...]:
    notes = []
    if files["states_file"] is not None and files["coordinates_file"] is not None:
        notes.append(f"{path.name}: <coordinates_file> is ignored, as OpenSim does where <states_file> is given.")
    if does.number("start_time", -math.inf) > -math.inf or does.number("end_time", math.inf) < math.inf:
        notes.append(
            f"{path.name}: <start_time> and <end_time> of the analysis are ignored, as OpenSim's AnalyzeTool does; "
            "<initial_time> and <final_time> hold."
        )
    return tuple(notes)


class _Properties:
    """Child elements of a tool or an analysis as text; unknown ones that ask for something are refused."""

    def __init__(
        self, path: Path, element: ElementTree.Element, known: tuple[str, ...], apart: tuple[str, ...] = ()
    ) -> None:
        self.path = path
        self.found: dict[str, str] = {}
        for child in element:
            if child.tag in apart:
                continue
            text = " ".join((child.text or "").split())
            if child.tag in self.found or (len(child) and child.tag in known):
                raise AnalyzeSetupError(f"{path}: <{child.tag}> must be there once and hold text only; repair it.")
            if child.tag not in known and (len(child) or text not in ("", *SAYS_NOTHING.get(child.tag, ()))):
                raise AnalyzeSetupError(
                    f"{path}: <{child.tag}> of <{element.tag}> is not supported{f' (it says {text})' if text else ''}; "
                    "remove it if the optimization does not need it."
                )
            if not text.isprintable():
                raise AnalyzeSetupError(f"{path}: <{child.tag}> holds characters that cannot be there; repair it.")
            self.found[child.tag] = "" if text == "Unassigned" else text

    def text(self, tag: str) -> str:
        return self.found.get(tag, "")

    def truth(self, tag: str, default: bool) -> bool:
        text = self.text(tag).lower()
        if text not in ("", "true", "false", "1", "0"):
            raise AnalyzeSetupError(f"{self.path}: <{tag}> must be true or false; got '{text}'.")
        return default if not text else text in ("true", "1")

    def number(self, tag: str, default: float) -> float:
        text = self.text(tag)
        try:
            value = float(re.sub(r"(?i)infinity", "inf", text)) if text else default
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise AnalyzeSetupError(f"{self.path}: <{tag}> must be a number; got '{text}'.")
        return value

    def count(self, tag: str, default: int, *, largest: int) -> int:
        value = self.number(tag, default)
        if not (1 <= value <= largest and value == int(value)):
            raise AnalyzeSetupError(f"{self.path}: <{tag}> must be a whole number from 1 to {largest}; got {value:g}.")
        return int(value)

    def file(self, tag: str) -> Path | None:
        text = self.text(tag)
        return self._existing(tag, text) if text else None

    def files(self, tag: str) -> tuple[Path, ...]:
        text = self.text(tag)
        names = [text] if text and _is_file(self._resolved(text)) else text.split()
        return tuple(self._existing(tag, name) for name in names)

    def _resolved(self, text: str) -> Path:
        return self.path.parent / text.replace("\\", "/")

    def _existing(self, tag: str, text: str) -> Path:
        found = self._resolved(text)
        if not _is_file(found):
            raise AnalyzeSetupError(
                f"{self.path}: <{tag}> names {text}, which is not at {found}; paths are relative to the setup's "
                "folder. Move the file there or correct the setup."
            )
        return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than names can be
        return False
