"""The muscles of a model as plain arrays, from which `Muscles` runs without opensim."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from safetensors.numpy import load_file, save_file

MILLARD = "Millard2012EquilibriumMuscle"
THELEN = "Thelen2003Muscle"
DEGROOTE = "DeGrooteFregly2016Muscle"
MUSCLE_CLASSES = (MILLARD, THELEN, DEGROOTE)


class MuscleTablesError(ValueError):
    """A folder that holds no readable muscle tables, or tables that cannot be evaluated."""


@dataclass(frozen=True, eq=False)
class MuscleTables:
    """The muscles of a model as plain arrays: M muscles, C coordinates, S spans, K terms, U curves of N nodes.

    A span is a pair (muscle, coordinate the muscle's path depends on); spans of muscle m are the rows
    `span_offsets[m]:span_offsets[m + 1]`, its polynomial's terms the rows `term_offsets[m]:term_offsets[m + 1]`.

    Attributes
    ----------
    names, classes, coordinates
        Muscles in force-set order; their OpenSim classes; independent coordinates in model order.
    span_offsets, span_coordinates
        (M + 1,) and (S,) index of the coordinate.
    term_offsets, exponents, coefficients, arm_coefficients
        (M + 1,); (K, D) exponents of the muscle's spanned coordinates, zero beyond them; (K,) in m, of the length and
        of the polynomial whose derivatives are the moment arms: the same one unless the muscle is `apart`.
    apart, moment_arm_difference
        (M,) whether OpenSim's moment arms are not the derivatives of its lengths (paths over two wrapping surfaces,
        such as the gastrocnemii near knee extension); (S,) by how much, 90th percentile in m/rad or m/m.
    centre, scale, lower, upper
        (C,) rad or m; x = (q - centre) / scale lies in [-1, 1] inside the fitted range [lower, upper]. Coordinates
        that no muscle spans have an infinite range.
    length_rms, length_max, moment_arm_rms, moment_arm_max, outlier_fraction
        Errors on poses that the fit did not see: (M,) m, (M,) m, (S,) and (S,) m/rad or m/m; (M,) share of the poses
        whose length error is beyond six robust standard deviations and 1 mm: wrapping jumps.
    parameters
        (M,) arrays by OpenSim property name (m, N, rad, optimal fibre lengths per second); NaN where a class has none.
    curve_low, curve_step, curve_nodes
        (U,), (U,), (U, N, 2) values and slopes of Millard curves on uniform grids.
    active_curve, velocity_curve, passive_curve
        (M,) row of `curve_nodes`, -1 for classes with closed forms.
    source
        Model file, sha256, OpenSim version, poses, seed.

    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    coordinates: tuple[str, ...]
    span_offsets: np.ndarray
    span_coordinates: np.ndarray
    term_offsets: np.ndarray
    exponents: np.ndarray
    coefficients: np.ndarray
    arm_coefficients: np.ndarray
    apart: np.ndarray
    moment_arm_difference: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    length_rms: np.ndarray
    length_max: np.ndarray
    moment_arm_rms: np.ndarray
    moment_arm_max: np.ndarray
    outlier_fraction: np.ndarray
    parameters: dict[str, np.ndarray]
    curve_low: np.ndarray
    curve_step: np.ndarray
    curve_nodes: np.ndarray
    active_curve: np.ndarray
    velocity_curve: np.ndarray
    passive_curve: np.ndarray
    source: dict[str, str | int]

    def spans(self, muscle: int) -> tuple[int, ...]:
        """Indices of the coordinates that muscle number `muscle` spans."""
        return tuple(int(c) for c in self.span_coordinates[self.span_offsets[muscle] : self.span_offsets[muscle + 1]])

    def terms(self, muscle: int) -> tuple[Int[np.ndarray, "term span"], Float[np.ndarray, "2 term"]]:
        """Exponents of the spanned coordinates of muscle number `muscle`; coefficients of length and arms, in m."""
        rows = slice(self.term_offsets[muscle], self.term_offsets[muscle + 1])
        return self.exponents[rows, : len(self.spans(muscle))], np.stack([self.coefficients, self.arm_coefficients])[
            :, rows
        ]

    def save(self, folder: Path) -> None:
        """Write `muscles.safetensors` and, when that is complete, `muscles.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays = {k: np.ascontiguousarray(v) for k, v in content.items() if isinstance(v, np.ndarray)}
        arrays |= {f"parameters.{k}": np.ascontiguousarray(v) for k, v in self.parameters.items()}
        rest = {k: v for k, v in content.items() if k not in arrays and k != "parameters"}
        partial = folder / "muscles.safetensors.partial"
        save_file(arrays, partial)
        partial.replace(folder / "muscles.safetensors")
        partial = folder / "muscles.json.partial"
        partial.write_text(json.dumps(rest, indent=1), encoding="utf-8")
        partial.replace(folder / "muscles.json")

    @classmethod
    def load(cls, folder: Path) -> MuscleTables:
        """Read what `save` wrote; MuscleTablesError when the folder does not hold it."""
        for name in ("muscles.safetensors", "muscles.json"):
            if not (folder / name).is_file():
                raise MuscleTablesError(f"{folder}: expected {name} of compiled muscles; compile the model again.")
        arrays = load_file(folder / "muscles.safetensors")
        content: dict[str, Any] = {k: v for k, v in arrays.items() if "." not in k}
        content["parameters"] = {k.split(".", 1)[1]: v for k, v in arrays.items() if "." in k}
        rest = json.loads((folder / "muscles.json").read_text(encoding="utf-8"))
        content |= {k: tuple(v) if isinstance(v, list) else v for k, v in rest.items()}
        if set(content) != {f.name for f in fields(cls)}:
            raise MuscleTablesError(f"{folder}: muscle tables of another version; compile the model again.")
        return cls(**content)
