"""Which terms stand against each other: what a search records on its way, and the sentences made of it."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from bige_opensim.guidance.objective import BoundObjective, BoundTerm, Evaluation

OPPOSED = -0.2
"""Gradient cosine below which improving one term is said to work against another."""

NO_GRADIENT = 1e-12


class Record:
    """What was met, and what was met together, by any motion at any iteration."""

    def __init__(self, objective: BoundObjective) -> None:
        self.terms = tuple(t for t in objective.terms if t.bounded)
        self.best = {t.name: (math.inf, math.nan) for t in self.terms}
        self.together = torch.zeros(len(self.terms), len(self.terms), dtype=torch.bool)

    def add(self, evaluation: Evaluation) -> None:
        """Take one iteration's evaluation in."""
        if not self.terms:
            return
        met = torch.stack([evaluation.met[t.name] for t in self.terms], dim=1).cpu()
        self.together |= (met[:, :, None] & met[:, None, :]).any(0)
        for t in self.terms:
            violation = evaluation.violations[t.name].detach()
            best = int(violation.argmin())
            if float(violation[best]) < self.best[t.name][0]:
                self.best[t.name] = (float(violation[best]), float(evaluation.values[t.name][best].detach()))


def gradient_cosines(targets: Mapping[str, Tensor], latents: Tensor) -> dict[tuple[str, str], float]:
    """Mean over motions of the cosine between gradients of (batch,) targets with respect to the latents (batch, ...).

    Targets whose gradient vanishes on every motion have no pairs; with each other they are (name, name): 0.
    """
    gradients: dict[str, Tensor] = {}
    for name, target in targets.items():
        if target.requires_grad:
            (gradient,) = torch.autograd.grad(target.sum(), latents, retain_graph=True, allow_unused=True)
            gradients[name] = torch.zeros_like(latents).flatten(1) if gradient is None else gradient.flatten(1)
        else:
            gradients[name] = torch.zeros_like(latents).flatten(1)
    cosines: dict[tuple[str, str], float] = {}
    for a, x in gradients.items():
        cosines[a, a] = float((x.norm(dim=1) > NO_GRADIENT).any())
        for b, y in gradients.items():
            both = (x.norm(dim=1) > NO_GRADIENT) & (y.norm(dim=1) > NO_GRADIENT)
            if a != b and both.any():
                cosines[a, b] = float(torch.cosine_similarity(x[both], y[both], dim=1).mean())
    return cosines


def statements(record: Record, cosines: Mapping[tuple[str, str], float]) -> tuple[str, ...]:
    """Plain sentences on why no motion met every bound: terms never met, pairs never met together."""
    found: list[str] = []
    ever = record.together.diagonal().tolist()
    for i, t in enumerate(record.terms):
        if not ever[i]:
            found.append(_never_met(t, record.best[t.name][1], cosines))
        for j in range(i):
            if ever[i] and ever[j] and not record.together[i, j]:
                found.append(_never_together(record.terms[j], t, cosines))
    if not found and len(record.terms) > 2:
        names = ", ".join(f"'{t.name}'" for t in record.terms)
        found.append(f"Every two of {names} were met in one motion, but never all of them.")
    return tuple(found)


def band_text(t: BoundTerm) -> str:
    """The band in words: 'between 0.35 and 0.45', 'at least 0.3 m'."""
    unit = "" if t.measured.unit == "1" else f" {t.measured.unit}"
    if math.isinf(t.high):
        return f"at least {t.low:g}{unit}"
    return f"at most {t.high:g}{unit}" if math.isinf(t.low) else f"between {t.low:g} and {t.high:g}{unit}"


def target_of(t: BoundTerm) -> str:
    """What a term asks for, as certificates and the record of a search have it: its band, or minimise or maximise."""
    return band_text(t) if t.bounded else str(t.term.goal)


def _never_met(t: BoundTerm, best: float, cosines: Mapping[tuple[str, str], float]) -> str:
    unit = "" if t.measured.unit == "1" else f" {t.measured.unit}"
    text = f"'{t.name}' was never met: the nearest value was {best:.3g}{unit}, asked for {band_text(t)}"
    if cosines.get((t.name, t.name)) == 0.0:
        return f"{text}; the search has no influence on it"
    against = {b: c for (a, b), c in cosines.items() if a == t.name != b and c < OPPOSED}
    if against:
        worst = min(against, key=lambda name: against[name])
        return f"{text}; improving it works against '{worst}' (gradient cosine {against[worst]:.2f})."
    return f"{text}; no other term stands against it, the generator's motions do not reach it."


def _never_together(a: BoundTerm, b: BoundTerm, cosines: Mapping[tuple[str, str], float]) -> str:
    cosine = cosines.get((a.name, b.name))
    measured = "" if cosine is None else f" (gradient cosine {cosine:.2f})"
    return (
        f"'{a.name}' ({band_text(a)}) and '{b.name}' ({band_text(b)}) were each met, "
        f"but never in the same motion{measured}."
    )
