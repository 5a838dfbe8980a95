"""Settings within reason: a number that would run for days, or ruin every result, is refused before anything starts."""

from __future__ import annotations


def require_within(
    settings: object, limits: dict[str, tuple[float, float]], error: type[ValueError] = ValueError
) -> None:
    """Raise `error` for the first attribute of `settings` that is not between its limits, ends included; NaN is not."""
    for name, (low, high) in limits.items():
        value = getattr(settings, name)
        if not low <= value <= high:
            shown = "a number without end" if abs(value) >= 1e300 else f"{value:g}"
            raise error(f"{name} = {shown} is not possible: choose from {low:g} to {high:g}")
