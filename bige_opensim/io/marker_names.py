"""Which marker of a recording is which marker of a model, when their names differ in case, prefix or suffix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

FEWEST_TO_SHARE_AN_AFFIX = 3


@dataclass(frozen=True)
class MarkerMatch:
    """Pairs of names and what was left over.

    Attributes
    ----------
    pairs
        (name in the recording, name in the model), in the order of the recording.
    unmatched
        Markers of the recording that the model lacks.
    unused
        Markers of the model that the recording lacks.
    notes
        Sentences on names that were matched though they differ, and on those that were ambiguous.

    """

    pairs: tuple[tuple[str, str], ...]
    unmatched: tuple[str, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...]


def match_markers(recorded: Sequence[str], model: Sequence[str]) -> MarkerMatch:
    """Match names, surest first, each name at most once.

    1. Equal.
    2. Equal but for case and a `subject:` before the name.
    3. Equal after taking off the prefix or suffix by which at least three names of one list differ from names of the
       other (`r_toe_study`, `r_toe`).
    4. Equal but for `_`, `.`, `-` and blanks.

    Names that fit several others equally well at one step are not matched at all, and a note says so.
    """
    left, right, found, notes = list(recorded), list(model), dict[str, str](), list[str]()
    for mine_key, theirs_key in _keys(recorded, model):
        mine, theirs = _by_key(left, mine_key), _by_key(right, theirs_key)
        for key in [key for key in mine if key in theirs]:
            if len(mine[key]) == len(theirs[key]) == 1:
                found[mine[key][0]] = theirs[key][0]
            else:
                notes.append(f"{', '.join(mine[key])} may be {', '.join(theirs[key])}: ambiguous, not used.")
            left = [name for name in left if name not in mine[key]]
            right = [name for name in right if name not in theirs[key]]
    renamed = [f"{a} is {b}" for a, b in found.items() if a != b]
    if renamed:
        notes.insert(0, f"{len(renamed)} marker(s) matched by similar names: {', '.join(renamed)}.")
    return MarkerMatch(
        pairs=tuple((name, found[name]) for name in recorded if name in found),
        unmatched=tuple(name for name in recorded if name not in found),
        unused=tuple(name for name in model if name not in set(found.values())),
        notes=tuple(notes),
    )


Key = Callable[[str], str]


def _keys(recorded: Sequence[str], model: Sequence[str]) -> Iterable[tuple[Key, Key]]:
    mine, theirs = _without_affix(recorded, model), _without_affix(model, recorded)
    return (
        (str, str),
        (_bare, _bare),
        (mine, theirs),
        (lambda name: _letters(mine(name)), lambda name: _letters(theirs(name))),
    )


def _bare(name: str) -> str:
    return name.rsplit(":", 1)[-1].strip().casefold()


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name) or name


def _without_affix(names: Sequence[str], others: Sequence[str]) -> Key:
    """A function that takes off what `names` have before or behind the names of `others`."""
    shorter = {_bare(other) for other in others}
    affixes = Counter[tuple[str, str]]()
    for bare in {_bare(name) for name in names} - shorter:
        for start in range(len(bare)):
            for end in range(start + 1, len(bare) + 1):
                if bare[start:end] in shorter and (start == 0 or end == len(bare)):
                    affixes[(bare[:start], bare[end:])] += 1
    if not affixes:
        return _bare
    (before, behind), count = affixes.most_common(1)[0]
    if count < FEWEST_TO_SHARE_AN_AFFIX:
        return _bare
    return lambda name: _bare(name).removeprefix(before).removesuffix(behind) or _bare(name)


def _by_key(names: Sequence[str], key: Key) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups
