"""What an objective that no motion meets comes down to: which terms conflict, how far each must give way.

Of the deciding terms S, T is a smallest set that conflicts if no motion meets all of T, but some motion meets T without
any one of its terms. It is found by a deletion filter: terms are left out one after another, and those stay out
without which the others still cannot be met. Whether they can is answered by short searches, so that the set is as good
as these are. In the same searches each term comes as near to its bound as the others of T allow: that far it must give
way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bige_opensim.guidance.conflicts import band_text
from bige_opensim.guidance.generated import Generated, Rehearsal, name_of
from bige_opensim.guidance.generation import MotionSearch, shortened
from bige_opensim.guidance.objective import BoundTerm
from bige_opensim.guidance.search import SearchResult

TRIED, SHARE = 4, 0.25
"""Motions and length, in shares of the whole, of the searches that ask what can be met without a term."""
GATES = 10.0
"""Scales of a term that a failed gate counts like, where the best compromise is chosen."""


class GivesWay(NamedTuple):
    """What is asked of a term, the nearest value that it reaches while the others hold, and how far that is off."""

    target: str
    nearest: float
    by: float


@dataclass(frozen=True)
class Conflict:
    """Terms that cannot be met together.

    Attributes
    ----------
    terms
        The smallest set of deciding terms that was found to conflict; one, where it is out of reach by itself.
    gives_way
        By term, how far it must give way while the others of the set hold.
    motion
        The best compromise: the motion that misses its terms by the least.
    missed
        By deciding term, what it is missed by there, in the unit of the file.
    failed
        What else speaks against that motion: gates that it fails, a sentence each.

    """

    terms: tuple[str, ...]
    gives_way: dict[str, GivesWay]
    motion: str
    missed: dict[str, float]
    failed: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For generation.json."""
        ways = {name: way._asdict() for name, way in self.gives_way.items()}
        return asdict(self) | {"terms": list(self.terms), "gives_way": ways, "failed": list(self.failed)}

    def sentences(self, units: dict[str, str]) -> tuple[str, ...]:
        """In words; `units` by term, empty for activations."""
        said = [f"'{n}' ({way.target})" for n, way in self.gives_way.items()]
        found = []
        if len(self.terms) == 1:
            (name,) = self.terms
            way = self.gives_way[name]
            found.append(
                f"{said[0]} was not reached by this person: {_number(way.nearest, units[name])} is the nearest."
            )
        elif self.terms:
            found.append(f"{', '.join(said[:-1])} and {said[-1]} were never met together by this person.")
            found += [
                f"Where {_others(self.terms, name)} hold{'s' if len(self.terms) == 2 else ''}, '{name}' reaches "
                f"{_number(way.nearest, units[name])} and must give way by {_number(way.by, units[name])}."
                for name, way in self.gives_way.items()
            ]
        missed = [f"'{name}' by {_number(by, units[name])}" for name, by in self.missed.items()]
        but = [f"misses {', '.join(missed)}"] if missed else []
        but += [f"fails a gate: {' '.join(self.failed).removesuffix('.')}"] if self.failed else []
        return (*found, f"The best compromise, {self.motion}, {' and '.join(but)}.")


class Tried(NamedTuple):
    """A short search without one term: whether a motion met all others, and the term's value nearest to its bound."""

    others_hold: bool
    nearest: float


def smallest_conflict(
    terms: Sequence[BoundTerm],
    search_without: Callable[[Sequence[BoundTerm], BoundTerm], Tried],
    seen: Mapping[str, float],
) -> dict[str, GivesWay]:
    """The deletion filter: the terms of a smallest set, and how far each must give way.

    `search_without(kept, t)` asks for motions that meet all of `kept` but t, which it leaves near its bound. `seen` are
    values nearest to the bounds of all motions so far: what is said of a term that is out of reach by itself.
    """
    kept, nearest = list(terms), dict(seen)
    for term in terms:
        if len(kept) == 1:
            break
        tried = search_without(kept, term)
        if tried.others_hold:
            nearest[term.name] = tried.nearest
        else:
            kept = [t for t in kept if t is not term]
    return {t.name: _way(t, nearest[t.name]) for t in kept}


def conflict_of(
    search: MotionSearch, result: SearchResult, rehearsals: Sequence[Rehearsal | None] | None = None
) -> Conflict:
    """Why no motion of a search holds, by what is predicted or, where there were rehearsals, by what they found."""
    terms = [t for t in search.objective.verdict_terms if t.name in result.values]
    values = {t.name: result.values[t.name].copy() for t in terms}
    failed: list[tuple[str, ...]] = [()] * len(result)
    for i, found in enumerate(rehearsals or ()):
        if found is not None:
            failed[i] = found.failed
            for name in values:
                values[name][i] = found.values.get(name, np.nan)
    missed = {t.name: np.array([missed_by(t, x) for x in values[t.name]]) for t in terms}
    cost = sum((missed[t.name] / t.scale for t in terms), np.array([GATES * len(x) for x in failed]))
    order = np.argsort(np.nan_to_num(cost, nan=np.inf), kind="stable")[:TRIED]
    best = int(order[0])
    here = {name: float(by[best]) for name, by in missed.items() if by[best] > 0}
    ways: dict[str, GivesWay] = {}
    if all((sum(by[i] for by in missed.values()) > 0) for i in range(len(result))):
        errors = {name: np.nan_to_num(x - result.values[name])[order] for name, x in values.items()}
        seen = {t.name: float(values[t.name][np.nanargmin(missed[t.name])]) for t in terms}
        ways = smallest_conflict(terms, partial(_search_without, search, result.latents[order], errors), seen)
    return Conflict(tuple(ways), ways, name_of(best), here, failed[best])


def explained(
    found: Generated, search: MotionSearch, result: SearchResult, rehearsals: Sequence[Rehearsal | None] | None = None
) -> Generated:
    """Motions of which none holds, with what keeps them from it."""
    conflict = conflict_of(search, result, rehearsals)
    units = {t.name: "" if t.measured.unit == "1" else t.measured.unit for t in search.objective.terms}
    said = {"conflicts": list(conflict.sentences(units)), "conflict": conflict.as_dict()}
    return replace(found, record=found.record | said)


def _search_without(
    search: MotionSearch,
    start: np.ndarray,
    errors: dict[str, np.ndarray],
    kept: Sequence[BoundTerm],
    term: BoundTerm,
) -> Tried:
    found = search.find(
        shortened(search.settings, max(1, round(SHARE * search.settings.iterations))),
        count=len(start),
        seed=search.request.seed,
        physics=search.by_physics,
        start=start,
        errors=errors,
        deciding=[t.name for t in kept if t is not term],
    )
    values = found.values[term.name][found.satisfied]
    if not len(values):
        return Tried(False, float("nan"))
    return Tried(True, float(min(values, key=lambda value: missed_by(term, value))))


def _way(term: BoundTerm, nearest: float) -> GivesWay:
    return GivesWay(band_text(term), nearest, missed_by(term, nearest))


def missed_by(term: BoundTerm, value: float) -> float:
    """How far a value is out of a term's band, in the unit of the file; 0 inside."""
    return max(term.low - value, value - term.high, 0.0)


def _others(terms: Sequence[str], name: str) -> str:
    others = [f"'{n}'" for n in terms if n != name]
    return others[0] if len(others) == 1 else f"{', '.join(others[:-1])} and {others[-1]}"


def _number(value: float, unit: str) -> str:
    return f"{value:.3g}{f' {unit}' if unit else ''}"
