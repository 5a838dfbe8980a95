"""The objective language: a TOML table of terms on measurable quantities, read and checked.

::

    name = "Deep squat, vasti 35-45 %"
    [[term]]
    quantity = "activation"
    of = ["vasmed_r", "vasmed_l"]    # names, or patterns such as "vas*_r"
    stat = "peak"                    # peak, min, mean, range, rms; or at = 0.5, a fraction of the cycle
    between = [0.35, 0.45]           # or at_least, at_most, equals (with tolerance), minimise = true, maximise = true
    weight = 1.0                     # optional, 1
    hard = true                      # optional, false: part of the verdict
    [effort]                         # optional: what muscles mind, in the physics and in the verdict
    exponent = 2.0                   # of activations, above 1; OpenSim's activation_exponent
    [search]                         # optional: see SearchSettings
    iterations = 600

Angles are degrees, lengths metres, times seconds, moments N*m per kg of body mass, ground forces and joint contact
forces body weights (BW), and activations fractions between 0 and 1. Penalties are measured in natural scales (`UNITS`),
so that weights compare.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bige_opensim.io.documents import DocumentError, read_toml
from bige_opensim.io.toml_lines import TomlLines
from bige_opensim.movements.events import MOVEMENTS
from bige_opensim.physics.carried_loads import FORM, CarriedLoad, CarriedLoadError, parse_loads
from bige_opensim.physics.effort_cost import USUAL, EffortCost, EffortCostError

STATS = ("peak", "min", "mean", "range", "rms")
BOUNDS = ("between", "at_least", "at_most", "equals", "minimise", "maximise")
TERM_KEYS = (
    "name", "quantity", "of", "stat", "at", *BOUNDS, "tolerance", "weight", "hard", "scale", "unit",
)  # fmt: skip


LARGEST_NUMBER = 1e6
SMALLEST_SCALE = 1e-6
"""Beyond these, sums of squared penalties lose their small terms, and then their numbers, in single precision."""

MOST_ITERATIONS = 100_000
LARGEST_SETTING = {"learning_rate": 1.0}


class ObjectiveError(ValueError):
    """An objective that cannot be read, contradicts itself, or does not fit the model.

    `key` is the key of the term that is at fault, where that is known.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True)
class Place:
    """Where in an objective a table stands, as errors say it: 'squat.toml, line 12: term 2 ('depth')'.

    An objective that was not read from a file has no lines.
    """

    source: str
    table: tuple[str | int, ...] = ()
    label: str = ""
    lines: TomlLines | None = None

    def inside(self, label: str, *table: str | int) -> "Place":
        """A table of this file."""
        return Place(self.source, table, label, self.lines)

    def at(self, *keys: str) -> str:
        """The place, with the line of the first of these keys that is there, or else of the table."""
        tried = [(*self.table, key) for key in keys] + ([self.table] if self.table else [])
        found = [line for path in tried if self.lines is not None and (line := self.lines.of(path)) is not None]
        where = f"{self.source}, line {found[0]}" if found else self.source
        return f"{where}: {self.label}" if self.label else where

    def __str__(self) -> str:
        return self.at()


class Unit(NamedTuple):
    """Unit of a quantity in objective files: its size in SI, and the difference that counts as one unit of penalty."""

    size: float
    scale: float


UNITS = {
    "1": Unit(1.0, 0.05),
    "deg": Unit(math.pi / 180, 5.0),
    "m": Unit(1.0, 0.05),
    "deg/s": Unit(math.pi / 180, 50.0),
    "m/s": Unit(1.0, 0.1),
    "m/s^2": Unit(1.0, 1.0),
    "N*m/kg": Unit(1.0, 0.2),
    "BW": Unit(1.0, 0.1),
    "s": Unit(1.0, 0.25),
}


class Quantity(NamedTuple):
    """What a term can measure: its possible units, and whether it names channels with `of`."""

    units: tuple[str, ...]
    of: Literal["required", "optional", "none"]
    never_negative: bool = False


QUANTITIES = {
    "activation": Quantity(("1",), "required", never_negative=True),
    "coordinate": Quantity(("deg", "m"), "required"),
    "velocity": Quantity(("deg/s", "m/s"), "optional"),
    "asymmetry": Quantity(("deg", "m", "1"), "optional", never_negative=True),
    "moment": Quantity(("N*m/kg",), "required"),
    "grf": Quantity(("BW",), "optional"),
    "joint_load": Quantity(("BW",), "required", never_negative=True),
    "com_velocity": Quantity(("m/s",), "optional"),
    "com_acceleration": Quantity(("m/s^2",), "optional"),
    "foot_slide": Quantity(("m/s",), "optional", never_negative=True),
    "trunk_angle": Quantity(("deg",), "none", never_negative=True),
    "depth": Quantity(("m",), "none", never_negative=True),
    "duration": Quantity(("s",), "none", never_negative=True),
}


@dataclass(frozen=True)
class Term:
    """One line of an objective, in the units of the file.

    `low` and `high` bound the value (infinite where open). `tolerance` belongs to `equals` (low = high = target) and is
    None where the file leaves it to the default, a fifth of the natural scale. `goal` is "band" for a bounded term.
    """

    name: str
    quantity: str
    of: tuple[str, ...] = ()
    stat: str = "peak"
    at: float | None = None
    goal: Literal["band", "minimise", "maximise"] = "band"
    low: float = -math.inf
    high: float = math.inf
    tolerance: float | None = None
    weight: float = 1.0
    hard: bool = False
    scale: float | None = None
    unit: str | None = None
    place: Place = field(default=Place("objective"), compare=False, repr=False)


@dataclass(frozen=True)
class SearchSettings:
    """The `[search]` table.

    The `warmup` first and `final` last iterations follow proximity and plausibility alone; the default keeps every term
    on to the end. `learning_rate` is in units of the reference latents' standard deviation; `beta` weighs proximity;
    `manifold` weighs, inside proximity, the distance of latents to their codes, which holds a search to the codes it
    begins with; `novelty` is the least distance to the nearest training motion that is not penalised, in usual
    distances between training motions; 0 leaves it to the training motions' own distances;
    `joint_limits`, `penetration`, `floating`, `balance` and `self_intersection` weigh the plausibility penalties (set
    floating = 0 for jumps). A motion whose loss stays where it is for `patience` iterations goes on from its best with
    a smaller learning rate, and leaves the search after some such reductions; with 0 none leaves before all that there
    is to meet is met.
    """

    iterations: int = 600
    warmup: int = 0
    final: int = 0
    learning_rate: float = 0.03
    beta: float = 0.1
    manifold: float = 1.0
    novelty: float = 0.5
    joint_limits: float = 1.0
    penetration: float = 0.5
    floating: float = 0.5
    balance: float = 1.0
    self_intersection: float = 1.0
    patience: int = 25


class Document(NamedTuple):
    """An objective file, checked."""

    name: str
    description: str
    terms: tuple[Term, ...]
    settings: SearchSettings
    cost: EffortCost = USUAL
    loads: tuple[CarriedLoad, ...] = ()
    movement: str | None = None


def closest(name: str, known: Iterable[str]) -> str:
    """', did you mean ...?' for the nearest known name, or the list of known names when it is short, or nothing."""
    names = sorted(set(known))
    near = get_close_matches(name, names, n=1, cutoff=0.55)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(names)}" if len(names) <= 20 else ""


def read_document(path: Path) -> Document:
    """Read and check an objective file; raises `ObjectiveError` naming the file, the term and the remedy."""
    try:
        content = read_toml(path)
    except DocumentError as error:
        raise ObjectiveError(f"{error} Give the path of an objective file.") from error
    return check_document(content, source=str(path), lines=TomlLines(path.read_text(encoding="utf-8-sig")))


def check_document(content: Mapping[str, Any], *, source: str, lines: TomlLines | None = None) -> Document:
    """Check the content of an objective; `source` names it in errors, `lines` finds the lines of its keys."""
    whole = Place(source, lines=lines)
    _known_keys(content, ("name", "description", "movement", "person", "term", "effort", "search"), whole)
    tables = content.get("term")
    if not isinstance(tables, list) or not tables:
        raise ObjectiveError(f"{source}: no terms; an objective needs at least one [[term]] table")
    terms = tuple(_term(table, whole.inside(f"term {i + 1}", "term", i)) for i, table in enumerate(tables))
    names = [t.name for t in terms]
    for i, name in enumerate(names):
        if name in names[:i]:
            where = whole.inside("", "term", i).at("name")
            raise ObjectiveError(f"{where}: two terms are called '{name}'; give each its own name")
    _refuse_contradictions(terms)
    settings = _settings(content.get("search", {}), whole.inside("[search]", "search"))
    cost = _cost(content.get("effort", {}), whole.inside("[effort]", "effort"))
    loads = _loads(content.get("person", {}), whole.inside("[person]", "person"))
    name, description = str(content.get("name", source)), str(content.get("description", ""))
    return Document(name, description, terms, settings, cost, loads, _movement(content, whole))


def _movement(content: Mapping[str, Any], whole: Place) -> str | None:
    """The movement that the objective is about, None where it is for any."""
    movement = content.get("movement")
    if movement is not None and movement not in MOVEMENTS:
        raise ObjectiveError(
            f"{whole.at('movement')}: '{movement}' is no movement{closest(str(movement), MOVEMENTS)}", "movement"
        )
    return None if movement is None else str(movement)


def _loads(table: Any, where: Place) -> tuple[CarriedLoad, ...]:
    """What the person of an objective carries: `load`, a text such as 60kg@torso or a list of them."""
    if not isinstance(table, Mapping):
        raise ObjectiveError(f"{where}: must be a table")
    _known_keys(table, ("load",), where)
    written = table.get("load", [])
    written = [written] if isinstance(written, str) else written
    if not isinstance(written, list) or not all(isinstance(text, str) for text in written):
        raise ObjectiveError(f"{where.at('load')}: load must be a text such as '{FORM}', or a list of them")
    try:
        return parse_loads(written)
    except CarriedLoadError as error:
        raise ObjectiveError(f"{where.at('load')}: {error}") from error


def _cost(table: Any, where: Place) -> EffortCost:
    """The exponent alone: OpenSim, which decides whether a motion holds, has no weights and no passive fibres."""
    if not isinstance(table, Mapping):
        raise ObjectiveError(f"{where}: must be a table")
    _known_keys(table, ("exponent",), where)
    exponent = _number(table, "exponent", where, default=2.0)
    assert exponent is not None
    try:
        return EffortCost(exponent=exponent)
    except EffortCostError as error:
        raise ObjectiveError(f"{where.at('exponent')}: {error}") from error


def _known_keys(table: Mapping[str, Any], known: Iterable[str], where: Place) -> None:
    for key in table:
        if key not in known:
            raise ObjectiveError(f"{where.at(key)}: unknown key '{key}'{closest(key, known)}")


def _number(table: Mapping[str, Any], key: str, where: Place, *, default: float | None = None) -> float | None:
    value = table.get(key, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_NUMBER:
        raise ObjectiveError(
            f"{where.at(key)}: {key} must be a number of at most {LARGEST_NUMBER:g}, not {_short(value)}"
        )
    return float(value)


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**20 else "a longer one"
    return text if len(text) <= 40 else f"{text[:40]}..."


def _flag(table: Mapping[str, Any], key: str, where: Place) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ObjectiveError(f"{where.at(key)}: {key} must be true or false, not {value!r}")
    return value


def _term(table: Any, where: Place) -> Term:
    if not isinstance(table, Mapping):
        raise ObjectiveError(f"{where}: write each term as a [[term]] table")
    if isinstance(table.get("name"), str):
        where = where.inside(f"{where.label} ('{table['name']}')", *where.table)
    _known_keys(table, TERM_KEYS, where)
    name = table.get("quantity")
    if not isinstance(name, str) or name not in QUANTITIES:
        raise ObjectiveError(f"{where.at('quantity')}: unknown quantity {name!r}{closest(str(name), QUANTITIES)}")
    quantity = QUANTITIES[name]
    of = _channels(table, name, quantity, where)
    stat, at = _stat(table, name, where)
    goal, low, high, tolerance = _goal(table, name, quantity, where)
    weight, scale = _number(table, "weight", where, default=1.0), _number(table, "scale", where)
    if weight is None or weight < 0 or (scale is not None and scale < SMALLEST_SCALE):
        place = where.at("weight" if scale is None or scale >= SMALLEST_SCALE else "scale")
        raise ObjectiveError(f"{place}: weight must not be negative and scale must be {SMALLEST_SCALE:g} at least")
    unit = table.get("unit")
    if unit is not None and unit not in quantity.units:
        raise ObjectiveError(
            f"{where.at('unit')}: unit {unit!r} does not fit {name}, which is in {' or '.join(quantity.units)}"
        )
    hard = _flag(table, "hard", where)
    if hard and goal != "band":
        raise ObjectiveError(
            f"{where.at('hard')}: hard needs a bound to be met (between, at_least, at_most, equals), not {goal}"
        )
    label = " ".join(x for x in (f"{stat} {name}" if at is None else f"{name} at {at:g}", ", ".join(of)) if x)
    label = "duration" if name == "duration" else label
    return Term(
        str(table.get("name", label)), name, of, stat, at, goal, low, high, tolerance, weight, hard, scale, unit, where
    )


def _channels(table: Mapping[str, Any], name: str, quantity: Quantity, where: Place) -> tuple[str, ...]:
    of = table.get("of", [])
    of = [of] if isinstance(of, str) else of
    if not isinstance(of, list) or not all(isinstance(x, str) and x for x in of):
        raise ObjectiveError(f"{where.at('of')}: of must be a list of names, not {of!r}")
    if quantity.of == "required" and not of:
        raise ObjectiveError(f"{where.at('of', 'quantity')}: {name} needs of = [names]")
    if quantity.of == "none" and of:
        raise ObjectiveError(f"{where.at('of')}: {name} is one number of the whole body; remove of")
    return tuple(of)


def _stat(table: Mapping[str, Any], name: str, where: Place) -> tuple[str, float | None]:
    stat, at = table.get("stat"), _number(table, "at", where)
    if name == "duration":
        if stat is not None or at is not None:
            raise ObjectiveError(f"{where.at('stat', 'at')}: duration is one number per motion; remove stat and at")
        return "mean", None
    if (stat is None) == (at is None):
        raise ObjectiveError(
            f"{where.at('at', 'stat')}: give either stat ({', '.join(STATS)}) or at (a fraction of the cycle)"
        )
    if at is not None:
        if not 0 <= at <= 1:
            raise ObjectiveError(
                f"{where.at('at')}: at = {at:g} is not a fraction of the cycle; the middle is at = 0.5"
            )
        return "at", at
    if stat not in STATS:
        raise ObjectiveError(f"{where.at('stat')}: unknown stat {stat!r}{closest(str(stat), STATS)}")
    return str(stat), None


def _goal(
    table: Mapping[str, Any], name: str, quantity: Quantity, where: Place
) -> tuple[Literal["band", "minimise", "maximise"], float, float, float | None]:
    given = [key for key in BOUNDS if key in table and table[key] is not False]
    if not given or (len(given) > 1 and set(given) != {"at_least", "at_most"}):
        raise ObjectiveError(f"{where.at(*given)}: give one of {', '.join(BOUNDS)} (got {', '.join(given) or 'none'})")
    tolerance = _number(table, "tolerance", where)
    if tolerance is not None and (given != ["equals"] or tolerance <= 0):
        raise ObjectiveError(f"{where.at('tolerance')}: tolerance is a positive number that goes with equals")
    for goal in ("minimise", "maximise"):
        if goal in given and _flag(table, goal, where):
            return goal, -math.inf, math.inf, None
    low, high = _bounds(table, where)
    if low > high:
        raise ObjectiveError(f"{where.at(*BOUNDS)}: contradictory bounds, at least {low:g} and at most {high:g}")
    if name == "activation" and any(math.isfinite(x) and not 0 <= x <= 1 for x in (low, high)):
        raise ObjectiveError(f"{where.at(*BOUNDS)}: activations are fractions between 0 and 1; 35 % is written 0.35")
    if quantity.never_negative and high < 0:
        raise ObjectiveError(f"{where.at(*BOUNDS)}: {name} is never negative, so at most {high:g} cannot be met")
    return "band", low, high, tolerance


def _bounds(table: Mapping[str, Any], where: Place) -> tuple[float, float]:
    if "between" in table:
        pair = table["between"]
        if not isinstance(pair, list) or len(pair) != 2:
            raise ObjectiveError(f"{where.at('between')}: between takes two numbers, [low, high], not {pair!r}")
        low, high = (_number({"between": x}, "between", where) for x in pair)
    elif "equals" in table:
        low = high = _number(table, "equals", where)
    else:
        low, high = _number(table, "at_least", where), _number(table, "at_most", where)
    return (-math.inf if low is None else low), (math.inf if high is None else high)


def _refuse_contradictions(terms: tuple[Term, ...]) -> None:
    """Refuse two bounds that no motion can meet: the least value allowed by one above the greatest of the other."""
    never_above = {("min", "mean"), ("min", "at"), ("min", "peak"), ("mean", "peak"), ("at", "peak"), ("mean", "rms")}
    for a in terms:
        for b in terms:
            same = a is not b and a.quantity == b.quantity and (set(a.of) & set(b.of) or a.of == b.of)
            ordered = (a.stat, b.stat) in never_above or (a.stat == b.stat and a.at == b.at)
            if same and ordered and a.low - (a.tolerance or 0) > b.high + (b.tolerance or 0):
                where = b.place.inside("", *b.place.table).at(*BOUNDS)
                raise ObjectiveError(
                    f"{where}: terms '{a.name}' and '{b.name}' contradict each other: "
                    f"at least {a.low:g} and at most {b.high:g}"
                )


def refuse_endless(iterations: int, where: str) -> None:
    """Raise ObjectiveError for a search that would run for days."""
    if not 1 <= iterations <= MOST_ITERATIONS:
        usual = SearchSettings.iterations
        raise ObjectiveError(
            f"{where}: {iterations} iterations; from 1 to {MOST_ITERATIONS} are possible, and {usual} are usual (the "
            "paper's search has 3000, some minutes)"
        )


def _settings(table: Any, where: Place) -> SearchSettings:
    if not isinstance(table, Mapping):
        raise ObjectiveError(f"{where}: must be a table")
    _known_keys(table, [f.name for f in fields(SearchSettings)], where)
    values: dict[str, Any] = {}
    for key in table:
        if key == "iterations" and type(table[key]) is int:
            refuse_endless(table[key], where.at(key))
        value = _number(table, key, where)
        if value is None or value < 0:
            raise ObjectiveError(f"{where.at(key)}: {key} must not be negative")
        if value > LARGEST_SETTING.get(key, LARGEST_NUMBER):
            raise ObjectiveError(
                f"{where.at(key)}: {key} = {value:g} is beyond {LARGEST_SETTING[key]:g}, where no search settles"
            )
        if key in ("iterations", "warmup", "final", "patience"):
            if value != int(value):
                raise ObjectiveError(f"{where.at(key)}: {key} must be a whole number, not {value:g}")
            value = int(value)
        values[key] = value
    settings = SearchSettings(**values)
    if settings.iterations < 1 or settings.warmup + settings.final >= settings.iterations:
        raise ObjectiveError(
            f"{where.at('warmup', 'final')}: warmup + final must leave at least one of {settings.iterations} iterations"
        )
    return settings
