"""Who trains, who validates, who tests: whole subjects, never single repetitions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


class SplitError(ValueError):
    """A given split that leaves a subject out or names a part that does not exist."""


def split_by_subject(
    repetitions: Mapping[str, int], *, seed: int = 0, given: Mapping[str, str] | None = None
) -> tuple[dict[str, str], str]:
    """Put every subject into train, validation or test, aiming at 70, 15 and 15 % of the repetitions.

    Subjects go in order of their repetitions, most first and equals in an order drawn from `seed`, to the part that
    lacks most; from three subjects on, every part gets one. With two, one trains and one validates; one alone trains.

    Parameters
    ----------
    repetitions
        How many each subject has.
    seed
        Orders equals.
    given
        Part by subject; replaces the drawing. Subjects without repetitions may be in it.

    Returns
    -------
    tuple of dict and str
        The part by subject, and a sentence on how it came about.

    Raises
    ------
    SplitError
        If `given` lacks a subject, or names another part than train, validation, test.
    """
    if given is not None:
        _check_given(repetitions, given)
        return {subject: given[subject] for subject in repetitions}, "The split was given by subject."
    if len(repetitions) == 1:
        note = "There is one subject, who trains; nothing is left to validate or test on. Label more subjects."
        return dict.fromkeys(repetitions, "train"), note
    parts = list(SHARES)[: len(repetitions)]
    names = sorted(repetitions)
    np.random.default_rng(seed).shuffle(names)
    names.sort(key=lambda name: -repetitions[name])
    total = sum(repetitions.values())
    lacking = {part: SHARES[part] * total for part in parts}
    chosen: dict[str, str] = {}
    for at, name in enumerate(names):
        empty = [part for part in parts if part not in chosen.values()]
        part = max(empty if len(names) - at <= len(empty) else parts, key=lacking.__getitem__)
        chosen[name] = part
        lacking[part] -= repetitions[name]
    if len(repetitions) == 2:
        note = "There are two subjects: one trains, one validates; none is left to test on. Label more subjects."
    else:
        note = f"Drawn by subject with seed {seed}, aiming at 70, 15 and 15 % of the repetitions."
    return {subject: chosen[subject] for subject in repetitions}, note


def _check_given(repetitions: Mapping[str, int], given: Mapping[str, str]) -> None:
    without = sorted(set(repetitions) - set(given))
    wrong = {subject: part for subject, part in given.items() if part not in SHARES}
    if without or wrong:
        raise SplitError(
            f"The given split must name train, validation or test for every subject; without a part: "
            f"{', '.join(without) or 'none'}; with another part: {wrong or 'none'}."
        )
