"""Settings are checked where they are made: a value that is none of its choices raises at once and names them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches


class SettingError(ValueError):
    """A setting whose value cannot be; the sentence says which values can."""


def one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise SettingError unless `value` is one of `choices`."""
    if value in choices:
        return
    near = get_close_matches(str(value), choices, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise SettingError(f"{name} = {value!r} is not a choice. Choose one of: {', '.join(choices)}.{meant}")


def usable_device(name: str) -> None:
    """Raise SettingError unless torch can put numbers on the device."""
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        reason = str(error).partition("\n")[0]
        raise SettingError(f"device = {name!r} cannot be used ({reason}); cpu always can.") from error


def in_range(name: str, value: float, unit: str, low: float, high: float = math.inf) -> None:
    """Raise SettingError unless `value` is a number from `low` to `high`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
        return
    wanted = f"of at least {low:g}" if math.isinf(high) else f"from {low:.10g} to {high:.10g}"
    raise SettingError(f"{name} = {value!r}: a number {wanted}{f' {unit}' if unit else ''} was expected.")
