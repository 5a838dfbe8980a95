"""The muscles of a model as plain arrays, from which `Muscles` runs without opensim."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

from bige_opensim.physics.packed_tables import pack, unpack

MILLARD = "Millard2012EquilibriumMuscle"
THELEN = "Thelen2003Muscle"
DEGROOTE = "DeGrooteFregly2016Muscle"
MUSCLE_CLASSES = (MILLARD, THELEN, DEGROOTE)


class MuscleTablesError(ValueError):
    """Muscle tables that cannot be evaluated as asked."""


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
    sampled, rough
        (N, C) rad or m, the poses that the fit was made of; (N, M) where a muscle's polynomial does not follow it:
        beside jumps of wrapping paths.
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
    sampled: np.ndarray
    rough: np.ndarray
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

    def to_bytes(self) -> bytes:
        """All of it as one block."""
        return pack({f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def from_bytes(cls, block: bytes) -> MuscleTables:
        """Inverse of `to_bytes`."""
        return cls(**unpack(block))
