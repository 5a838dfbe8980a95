"""Damage files in thousands of ways and see that every reader refuses them or reads what OpenSim reads.

    python tests/fuzz/fuzz_readers.py --out fuzz [--count 100000] [--seed 0] [--sources FOLDER] [--readers storage,trc]

Case k of a seed is always the same: a real file below --sources (cut to a few rows) or a generated one, with one to
four mutations: bits, bytes, lines, cells, columns, header entries, line ends, encodings, and words that trip parsers.
Run again with the same --out to go on where it was stopped. counts.json holds counts by reader and verdict, findings/
the damaged files of every kind of bug, at most three of each. Exit status 1 when there are findings.

Verdicts: `refused` (the reader's own error, or no value), `equal` (what OpenSim reads), `plain` (OpenSim refuses or
breaks, an independent parse of the text gives the same), `trap` (OpenSim reads something else by a known trap, an
independent parse gives the same as we do), `alone` (ExternalLoads that OpenSim refuses and we read). Findings:
`uncaught` (another exception, a numpy warning too), `slow` (more than 2 s of processor time), `misread` (neither
OpenSim nor the independent parse gives the same), `differs` (OpenSim reads something else, and no known trap says why).

Oracles: OpenSim's TimeSeriesTable and Storage for .mot and .sto, TimeSeriesTableVec3 (TRCFileAdapter) for .trc,
ExternalLoads for its documents, in a process of its own that is replaced when it dies or hangs; libyaml's safe loader
for sessionMetadata.yaml and an independent parse for UI-PRMD, which OpenSim does not read. Known traps: Storage
believes the header's counts; both tables end at a blank line, without a word; TRCFileAdapter drops the line below
X1 Y1 Z1 whatever it holds, and keeps 0, 0, 0, which we take as not seen. OpenSim is not asked about files without a
line endheader, from which it never returns; a carriage return alone ends no line for it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import yaml

from bige_opensim.io.external_loads import ExternalForce, ExternalLoadsError, read_external_loads, write_external_loads
from bige_opensim.io.opencap import SessionError, find_sessions
from bige_opensim.io.storage import StorageError, read_coordinates, read_storage, write_storage
from bige_opensim.io.trc import METRES, TrcError, read_trc, write_trc
from bige_opensim.io.ui_prmd import MARKERS, UiPrmdError, read_clip

LIMIT_S = 2.0
KEPT_PER_KIND = 3
ORACLE_CASES, BATCH = 5_000, 200
ROWS = (3, 8)
FINDINGS = ("uncaught", "slow", "misread", "differs")

# fmt: off
NUMBERS = (
    b"nan", b"NaN", b"-nan", b"inf", b"-Infinity", b"1e400", b"-1e309", b"1e-400", b"4.9e-324", b"1_000", b"0x10",
    b"0x1p3",
    "١٢".encode(), "１".encode(), "−1".encode(), b"1,5", b"1.234.567", b"", b"-", b"+", b".", b"+5", b".5", b"5.",
    b"1e",
    b"1e5", b"1E+5", b"1d5", b"1D-2", b"1.5f", b"true", b"#N/A", b"NA", b"--", b"1 2", b"\xa01", b"1\x0b2",
    b"9" * 40, b"9" * 5000,
    b"1e308", b"-0.0", b"1/3", b"$5", b"50%", b"1'000", b"(5)", b"Infinity", b"1.#IND", b"1.#QNAN", b"\"5\"",
)
WORDS = (
    b"endheader", b"time", b"Time", b"nRows=1", b"nColumns=2", b"inDegrees=no", b"inDegrees=yes", b"version=3",
    b"version=9",
    b"DataType=Vec3", b"datacolumns 2", b"datarows 1", b"Frame#", b"DataRate", b"Units", b"\tmm", b"X1",
    b"\xff\xfe", b"\xef\xbb\xbf",
    "é".encode(), "\u2028".encode(), "\x85".encode(), b"\x0c", b"\x1c", b"\x1a", b"\0", b"=", b"==", b"#", b"//",
    b"%s%n",
    b"nRows=" + b"9" * 5000, b"nColumns=-1", b"inDegrees=", b"inDegrees = no", b"indegrees=YES",
    b"Angles are in degrees.",
)
XML_WORDS = (
    b"<", b">", b"&", b"&amp;", b"&#0;", b"&#x41;", b"&bogus;", b"<!-- x -->", b"<![CDATA[x]]>", b"]]>",
    b"<?x y?>", b"true", b"false",
    b"<isDisabled>true</isDisabled>", b"<appliesForce>false</appliesForce>", b"<appliesForce>true</appliesForce>",
    b"<datafile>other.mot</datafile>", b"<datafile>" + b"a" * 5000 + b"</datafile>", b"<ExternalForce name='x'/>",
    b"<ExternalLoads>",
    b"</ExternalLoads>", b"<objects>", b"</objects>", b"<groups />", b"<defaults>", b"xmlns='a'",
    b"<applied_to_body/>",
    b"<!DOCTYPE a [<!ENTITY b 'bbbbbbbbbb'><!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'>]>", b"Unassigned",
    b"<a>" * 3000,
    b"encoding='utf-16'", b"encoding='utf-32'", b"encoding='cp1047'", b"encoding='none'", b"standalone='maybe'",
)
YAML_WORDS = (
    b"!!timestamp x", b"2020-99-99", b"2020-01-01", b"&a ", b"*a", b"&a [*a]", b"[" * 3000, b"{" * 50, b"|", b">",
    b"0b_", b"0x_", b"1:99:99",
    b"!!int x", b"!!bool x", b"!!float x", b"!!binary x", b"!!python/object:os.system x", b"!x", b"\t", b": ",
    b"---", b"...", b"%YAML 9.9",
    b"? ", b"<<: *a", b"=", b"- ", b"'", b'"', b"@", b"`", b"~", b"null", b"mass_kg: 7", b"subjectID:",
    b"mass_kg: [1, 2]", b"yes", b"1e3",
    b".inf", b".nan", b"0o17", b"017", b"1_000", b"190:20:30", b"? [a]\n: b", b"? {a: b}\n: c", b"9" * 5000,
    b"!!set {a}", b"!!omap [a: b]",
    b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (k, k, b",".join([b"*%c" % (k - 1)] * 9)) for k in b"bcdef")
    + b"subjectID: [*f,*f,*f,*f,*f,*f,*f,*f,*f]",
)
# fmt: on


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers read from a file: time, columns, their labels, and what the header says of degrees."""

    time: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    in_degrees: bool | None = None
    contradicted: bool = False

    def same_as(self, other: Table) -> bool:
        """The same numbers under the same labels; other's NaN and mine need not coincide where mine is a gap."""
        return (
            self.names == other.names
            and self.values.shape == other.values.shape
            and np.allclose(self.time, other.time, rtol=1e-12, atol=1e-300)
            and np.allclose(self.values, other.values, rtol=1e-12, atol=1e-300, equal_nan=True)
        )


@dataclass(frozen=True)
class Source:
    """A whole file to be damaged, and the names of files that must lie beside it."""

    reader: str
    name: str
    content: bytes
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What a case came to, and what to say of it."""

    kind: str
    text: str = ""


@dataclass
class Tally:
    """Counts of a run that can be gone on with."""

    seed: int
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    oracle_restarts: int = 0

    @classmethod
    def load(cls, path: Path, seed: int) -> Tally:
        """What an earlier run of the same seed left, or nothing."""
        if not path.is_file():
            return cls(seed)
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["seed"] != seed:
            raise SystemExit(f"{path}: counts of seed {saved['seed']}, not {seed}; name another --out.")
        counts = {f"{r}/{v}": n for r, row in saved["counts"].items() for v, n in row.items()}
        return cls(seed, saved["done"], Counter(counts), Counter(saved["kinds"]), saved["oracle_restarts"])

    def save(self, path: Path) -> None:
        """Write counts whole or not at all."""
        rows: dict[str, dict[str, int]] = {}
        for key, count in sorted(self.counts.items()):
            reader, verdict = key.split("/")
            rows.setdefault(reader, {})[verdict] = count
        saved = {"seed": self.seed, "done": self.done, "oracle_restarts": self.oracle_restarts}
        part = path.with_suffix(".part")
        part.write_text(
            json.dumps({**saved, "counts": rows, "kinds": dict(self.kinds)}, indent=1) + "\n", encoding="utf-8"
        )
        part.replace(path)


# Sources


def generated_sources(folder: Path) -> list[Source]:
    """Small files of every kind that the readers understand."""
    rng = np.random.default_rng(0)
    t, names = np.arange(5) / 60.0, ("pelvis_tilt", "pelvis_tx", "knee_angle_r", "ankle_angle_r")
    table = np.round(rng.normal(0.0, 30.0, (5, 4)), 6)
    found = []
    for version in (1, 2, 3):
        path = folder / f"v{version}.mot"
        write_storage(path, t, table, names, in_degrees=True, version=version)
        found.append(Source("storage", path.name, path.read_bytes()))
    rows = "\n".join("   ".join(f"{x:10.6f}" for x in (a, *row)) for a, row in zip(t, table, strict=True))
    simm = f"name walk\ndatacolumns 5\ndatarows 5\nrange 0 0.0667\nendheader\ntime {' '.join(names)}\n{rows}\n"
    found.append(Source("storage", "simm.mot", simm.encode()))
    for units in ("m", "mm"):
        positions = rng.uniform(-0.6, 1.6, (5, 4, 3)).round(6)
        positions[2, 1] = np.nan
        path = folder / f"{units}.trc"
        write_trc(path, t, positions, ("r.ASIS", "L.ASIS", "r_knee", "C7"), units=units)
        found.append(Source("trc", path.name, path.read_bytes()))
    path = folder / "loads.xml"
    forces = [
        ExternalForce(f"grf_{s}", f"calcn_{s}", f"ground_force_{s}_v", f"ground_force_{s}_p", f"m_{s}_") for s in "rl"
    ]
    write_external_loads(path, "forces.mot", forces)
    found.append(Source("external_loads", path.name, path.read_bytes(), ("forces.mot",)))
    old = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<OpenSimDocument Version="30000">\n<ExternalLoads name="loads">\n'
        "<objects>\n"
        '<ExternalForce name="right">\n<isDisabled>false</isDisabled>\n<applied_to_body>calcn_r</applied_to_body>\n'
        "<force_expressed_in_body>ground</force_expressed_in_body>\n<force_identifier>1_v</force_identifier>\n"
        "<point_identifier>1_p</point_identifier>\n<data_source_name>Unassigned</data_source_name>\n</ExternalForce>\n"
        '<ExternalForce name="left">\n<isDisabled>true</isDisabled>\n<applied_to_body>calcn_l</applied_to_body>\n'
        "<force_identifier>2_v</force_identifier>\n<torque_identifier>2_t</torque_identifier>\n</ExternalForce>\n"
        "</objects>\n<groups />\n<datafile>forces.mot</datafile>\n</ExternalLoads>\n</OpenSimDocument>\n"
    )
    found.append(Source("external_loads", "old_loads.xml", old.encode(), ("forces.mot",)))
    known = "subjectID: s1\nmass_kg: 71.5\nheight_m: 1.78\nopenSimModel: LaiUhlrich2022\n"
    metadata = f"{known}nested:\n  a: [1, 2]\n  b: {{c: d}}\n"
    found.append(Source("metadata", "sessionMetadata.yaml", metadata.encode()))
    p = rng.normal(0.0, 300.0, (4, 3 * len(MARKERS))).round(3)
    for side in "LR":
        p[:, 3 * MARKERS.index(f"{side}TOE")] = 200.0 + 3.0 * p[:, 3 * MARKERS.index(f"{side}HEE")] / 300.0
    text = "\n".join(",".join(f"{x:.3f}" for x in row) for row in p) + "\n"
    found.append(Source("ui_prmd", "m01_s01_e01_positions.txt", text.encode()))
    return found


def real_sources(folder: Path) -> list[Source]:
    """Real files below a folder, cut to a few rows, at most a dozen of each kind."""
    found: dict[str, list[Source]] = {}
    for path in sorted(folder.rglob("*")):
        source = _real_source(path) if path.is_file() else None
        if source is not None:
            found.setdefault(source.reader, []).append(source)
    return [
        s
        for kind in found.values()
        for s in (kind[i] for i in np.unique(np.linspace(0, len(kind) - 1, 12).astype(int)))
    ]


def _real_source(path: Path) -> Source | None:
    suffix = path.suffix.lower()
    if suffix in (".mot", ".sto"):
        head, mark, body = path.read_bytes().partition(b"endheader")
        return Source("storage", path.name, head + mark + _first_lines(body, 8)) if mark else None
    if suffix == ".trc":
        return Source("trc", path.name, _first_lines(path.read_bytes(), 12))
    if path.name == "sessionMetadata.yaml":
        return Source("metadata", path.name, path.read_bytes())
    if re.fullmatch(r"m\d+_s\d+_e\d+_positions\w*\.txt(\.gz)?", path.name):
        raw = path.read_bytes()
        text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        return Source("ui_prmd", path.name.removesuffix(".gz"), _first_lines(text, 5))
    if suffix == ".xml" and b"<ExternalLoads" in (raw := path.read_bytes()):
        names = re.findall(rb"<datafile>([^<]+)</datafile>", raw)
        return Source("external_loads", path.name, raw, tuple(Path(n.decode()).name for n in names))
    return None


def _first_lines(content: bytes, count: int) -> bytes:
    return b"".join(content.splitlines(keepends=True)[:count])


# Mutations


def mutated(source: Source, rng: random.Random) -> bytes:
    """The content with one to four mutations."""
    content = source.content
    menu = _MENUS[source.reader]
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        content = rng.choice(menu)(content, rng)
    return content


Mutation = Callable[[bytes, random.Random], bytes]


def _flip(c: bytes, r: random.Random) -> bytes:
    if not c:
        return c
    b = bytearray(c)
    b[r.randrange(len(b))] ^= 1 << r.randrange(8)
    return bytes(b)


def _byte(c: bytes, r: random.Random) -> bytes:
    at = r.randrange(len(c) + 1)
    return c[:at] + bytes([r.randrange(256)]) + c[at + r.randrange(2) :]


def _digit(c: bytes, r: random.Random) -> bytes:
    places = [m.start() for m in re.finditer(rb"[\d.]", c)]
    if not places:
        return c
    at = r.choice(places)
    return c[:at] + r.choice((b"0", b"9", b".", b"-", b",", b"e", b"_", b" ", b"", b"55")) + c[at + 1 :]


def _delete(c: bytes, r: random.Random) -> bytes:
    at = r.randrange(len(c) + 1)
    return c[:at] + c[at + r.randrange(1, 40) :]


def _repeat(c: bytes, r: random.Random) -> bytes:
    at = r.randrange(len(c) + 1)
    return c[:at] + c[max(0, at - r.randrange(1, 60)) :]


def _cut(c: bytes, r: random.Random) -> bytes:
    return c[: r.randrange(len(c) + 1)]


def _on_lines(change: Callable[[list[bytes], random.Random], None]) -> Mutation:
    def mutation(c: bytes, r: random.Random) -> bytes:
        lines = c.split(b"\n")
        change(lines, r)
        return b"\n".join(lines)

    return mutation


def _drop_line(lines: list[bytes], r: random.Random) -> None:
    del lines[r.randrange(len(lines))]


def _double_line(lines: list[bytes], r: random.Random) -> None:
    at = r.randrange(len(lines))
    lines.insert(r.choice((at, r.randrange(len(lines) + 1))), lines[at])


def _swap_lines(lines: list[bytes], r: random.Random) -> None:
    a, b = r.randrange(len(lines)), r.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]


def _cut_line(lines: list[bytes], r: random.Random) -> None:
    at = r.randrange(len(lines))
    lines[at] = lines[at][: r.randrange(len(lines[at]) + 1)]


def _blank_line(lines: list[bytes], r: random.Random) -> None:
    lines.insert(r.randrange(len(lines) + 1), r.choice((b"", b" ", b"\t", b"\t\t\t", b"\r", b" \t ")))


def _join_lines(lines: list[bytes], r: random.Random) -> None:
    if len(lines) > 1:
        at = r.randrange(len(lines) - 1)
        lines[at : at + 2] = [lines[at] + r.choice((b"", b" ", b"\t")) + lines[at + 1]]


def _double_entry(lines: list[bytes], r: random.Random) -> None:
    """A line of the first ten once more with another value."""
    at = r.randrange(min(10, len(lines)))
    other = lines[at]
    for a, b in ((b"yes", b"no"), (b"no", b"yes"), (b"mm", b"m"), (b"1", b"2"), (b"5", b"4"), (b"true", b"false")):
        if a in other:
            other = other.replace(a, b)
            break
    lines.insert(r.choice((at, at + 1, r.randrange(len(lines) + 1))), other)


def _header_number(lines: list[bytes], r: random.Random) -> None:
    at = r.randrange(min(10, len(lines)))
    new = r.choice((b"0", b"1", b"4", b"5", b"6", b"34", b"999999999", b"-3", b"2.5", b"", b"x", b"1e3", b"9" * 5000))
    numbers = list(re.finditer(rb"\d+", lines[at]))
    if numbers:
        m = r.choice(numbers)
        lines[at] = lines[at][: m.start()] + new + lines[at][m.end() :]


def _header_spelling(lines: list[bytes], r: random.Random) -> None:
    at = r.randrange(min(10, len(lines)))
    change = r.choice(_SPELLINGS)
    lines[at] = change(lines[at])


_SPELLINGS: tuple[Callable[[bytes], bytes], ...] = (
    bytes.upper,
    bytes.lower,
    bytes.swapcase,
    lambda x: x.replace(b"=", b" = "),
    lambda x: x.replace(b"=", b"\t"),
    lambda x: x.replace(b"=", b"=="),
    lambda x: x.replace(b"\t", b" "),
    lambda x: x.replace(b"yes", b"no"),
    lambda x: x.replace(b"mm", b"cm"),
    lambda x: b"  " + x,
    lambda x: x + b"  ",
    lambda x: b"# " + x,
)


def _on_cells(change: Callable[[list[bytes], random.Random], None]) -> Mutation:
    def mutation(c: bytes, r: random.Random) -> bytes:
        lines = c.split(b"\n")
        at = r.randrange(len(lines))
        gap = next((g for g in (b"\t", b",", b" ") if g in lines[at]), b"\t")
        cells = lines[at].split(gap)
        change(cells, r)
        lines[at] = gap.join(cells)
        return b"\n".join(lines)

    return mutation


def _drop_cell(cells: list[bytes], r: random.Random) -> None:
    del cells[r.randrange(len(cells))]


def _double_cell(cells: list[bytes], r: random.Random) -> None:
    at = r.randrange(len(cells))
    cells.insert(at, cells[at])


def _empty_cells(cells: list[bytes], r: random.Random) -> None:
    at = r.randrange(len(cells))
    for k in range(at, min(len(cells), at + r.randrange(1, 5))):
        cells[k] = b""


def _more_cells(cells: list[bytes], r: random.Random) -> None:
    at = r.choice((len(cells), r.randrange(len(cells) + 1)))
    cells[at:at] = [r.choice((b"", b"", b"0", b"1.5", b"x"))] * r.randrange(1, 4)


def _swap_cells(cells: list[bytes], r: random.Random) -> None:
    a, b = r.randrange(len(cells)), r.randrange(len(cells))
    cells[a], cells[b] = cells[b], cells[a]


def _odd_cell(cells: list[bytes], r: random.Random) -> None:
    cells[r.randrange(len(cells))] = r.choice(NUMBERS)


def _column(c: bytes, r: random.Random) -> bytes:
    """One column out of every line, or doubled, or moved to the end."""
    gap = b"\t" if b"\t" in c else b","
    lines = [line.split(gap) for line in c.split(b"\n")]
    k, how = r.randrange(max(map(len, lines))), r.randrange(3)
    for cells in lines:
        if len(cells) > max(k, 1):
            cell = cells[k]
            if how == 1:
                cells.insert(k, cell)
            else:
                del cells[k]
                cells += [cell] if how == 2 else []
    return b"\n".join(gap.join(cells) for cells in lines)


def _word(words: Sequence[bytes]) -> Mutation:
    def mutation(c: bytes, r: random.Random) -> bytes:
        word, lines = r.choice(words), c.split(b"\n")
        if r.random() < 0.5:
            lines.insert(r.randrange(len(lines) + 1), word)
            return b"\n".join(lines)
        at = r.randrange(len(c) + 1)
        return c[:at] + word + c[at:]

    return mutation


def _value(words: Sequence[bytes]) -> Mutation:
    """What stands behind a colon, or between tags, becomes a word."""

    def mutation(c: bytes, r: random.Random) -> bytes:
        places = list(re.finditer(rb"(?<=: )[^\n]*|(?<=>)[^<\n]+(?=<)|(?<==\")[^\"]*", c))
        if not places:
            return c
        m = r.choice(places)
        return c[: m.start()] + r.choice(words) + c[m.end() :]

    return mutation


def _whole(c: bytes, r: random.Random) -> bytes:
    """Something done to the whole file."""
    text = c.decode("latin-1")
    return r.choice(_WHOLE)(c, text)


_WHOLE: tuple[Callable[[bytes, str], bytes], ...] = (
    lambda c, t: c.replace(b".", b","),
    lambda c, t: c.replace(b"\t", b" "),
    lambda c, t: re.sub(rb" +", b"\t", c),
    lambda c, t: c.replace(b"\t", b"\t\t"),
    lambda c, t: c.replace(b"\t", b" \t "),
    lambda c, t: c.replace(b"\t", b","),
    lambda c, t: c.replace(b"\n", b"\r\n"),
    lambda c, t: c.replace(b"\n", b"\r"),
    lambda c, t: c.replace(b"\n", b"\r\n", len(c) // 200),
    lambda c, t: c.replace(b"\n", b"\n\n"),
    lambda c, t: c.replace(b"\n", b"\n\r"),
    lambda c, t: c.replace(b"\n", b"\t\n"),
    lambda c, t: b"\xef\xbb\xbf" + c,
    lambda c, t: t.encode("utf-16"),
    lambda c, t: t.encode("utf-16-le"),
    lambda c, t: t.encode("utf-32"),
    lambda c, t: c.rstrip(),
    lambda c, t: c + b"\n\n\n",
    lambda c, t: c + b"\x1a",
    lambda c, t: c + c,
    lambda c, t: b"",
    lambda c, t: b"\n" * 5,
    lambda c, t: gzip.compress(c, mtime=0),
    lambda c, t: b"\n" + c,
)

_BYTES = (_flip, _byte, _digit, _delete, _repeat, _cut)
_LINES = tuple(_on_lines(f) for f in (_drop_line, _double_line, _swap_lines, _cut_line, _blank_line, _join_lines))
_HEADERS = tuple(_on_lines(f) for f in (_double_entry, _header_number, _header_spelling))
_CELLS = tuple(
    _on_cells(f) for f in (_drop_cell, _double_cell, _empty_cells, _more_cells, _swap_cells, _odd_cell, _odd_cell)
)
_TABLES = (*_BYTES, *_LINES, *_HEADERS, *_CELLS, _column, _word(WORDS), _whole)
_MENUS: dict[str, tuple[Mutation, ...]] = {
    "storage": _TABLES,
    "trc": _TABLES,
    "external_loads": (*_BYTES, *_LINES, _word(XML_WORDS), _value(XML_WORDS), _value(NUMBERS), _whole),
    "metadata": (*_BYTES, *_LINES, _word(YAML_WORDS), _value(YAML_WORDS), _value(NUMBERS), _whole),
    "ui_prmd": (*_BYTES, *_LINES, *_CELLS, _column, _word(WORDS), _whole),
}


# What we read


def read(reader: str, path: Path) -> Any:
    """What the package's reader makes of a file."""
    return _READERS[reader][0](path)


def _read_storage(path: Path) -> Table:
    t = read_storage(path)
    turning = frozenset(t.names[::2])
    try:
        motion = read_coordinates(path, rotational=turning).motion
    except StorageError:
        return Table(t.time, t.values, t.names, t.in_degrees, bool(t.notes))
    columns = [i for i, name in enumerate(t.names) if name in motion.names]
    turns = np.array([name in turning for name in motion.names])
    assert len(columns) < len(motion.names) or any(
        np.array_equal(motion.values, np.where(turns, t.values[:, columns] * f, t.values[:, columns]))
        for f in (1.0, np.pi / 180.0)
    ), "coordinates are not the table's"
    return Table(t.time, t.values, t.names, t.in_degrees, bool(t.notes))


def _read_trc(path: Path) -> Table:
    m = read_trc(path)
    return Table(m.time, m.positions.reshape(len(m.time), -1), m.names, contradicted=bool(m.notes))


def _read_loads(path: Path) -> tuple[Any, ...]:
    loads = read_external_loads(path)
    keys = ("name", "applied_to_body", "force_expressed_in_body", "point_expressed_in_body", "force_identifier",
            "point_identifier", "torque_identifier")  # fmt: skip
    return loads.datafile.name, tuple(tuple(getattr(f, key) for key in keys) for f in loads.forces)


def _read_metadata(path: Path) -> dict[str, Any]:
    (session,) = find_sessions([path.parent])
    return {
        "subjectID": session.subject,
        "mass_kg": session.mass_kg,
        "height_m": session.height_m,
        "openSimModel": session.model_name,
    }


def _read_clip(path: Path) -> Table:
    m = read_clip(path)
    return Table(m.time, m.positions.reshape(len(m.time), -1), m.names)


_READERS: dict[str, tuple[Callable[[Path], Any], type[ValueError]]] = {
    "storage": (_read_storage, StorageError),
    "trc": (_read_trc, TrcError),
    "external_loads": (_read_loads, ExternalLoadsError),
    "metadata": (_read_metadata, SessionError),
    "ui_prmd": (_read_clip, UiPrmdError),
}


# Independent parses

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _lines_of(path: Path) -> list[str]:
    return re.split("\r\n|\r|\n", path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace"))


def plain_storage(path: Path) -> Table | None:
    """Labels and numbers below the first `endheader`, by a strict grammar of numbers."""
    lines = _lines_of(path)
    at = next((i for i, line in enumerate(lines) if line.strip().lower() == "endheader"), None)
    rows = [line for line in lines[at + 1 :] if line.strip()] if at is not None else []
    cells = [re.split(r"[\t ]+", row.strip("\t ")) for row in rows]
    labels = (
        [c for c in re.split(r"\s*\t\s*", rows[0].strip()) if c]
        if rows and len(set(map(len, cells))) > 1
        else cells[0]
        if cells
        else []
    )
    if len(cells) < 3 or any(len(row) != len(labels) for row in cells[1:]):
        return None
    if not all(_NUMBER.fullmatch(cell) for row in cells[1:] for cell in row):
        return None
    table = np.array([[float(cell) for cell in row] for row in cells[1:]])
    return Table(table[:, 0], table[:, 1:], tuple(labels[1:]))


def plain_trc(path: Path) -> Table | None:
    """Three numbers per name, at its place in the line that begins with Frame#, by tabs or else by blanks."""
    lines = _lines_of(path)
    at = next((i for i, line in enumerate(lines) if line.strip().lower().startswith("frame#")), None)
    keys = next((i for i, line in enumerate(lines) if line.strip().lower().startswith("datarate")), None)
    if at is None or keys is None:
        return None
    units = dict(zip(lines[keys].split(), lines[keys + 1].split(), strict=False)).get("Units", "").lower()
    scale = METRES.get(units[:2] if units.startswith("mm") else units)
    names = [c.strip(" ") for c in lines[at].split("\t")[2:]] if "\t" in lines[at] else lines[at].split()[2:]
    named = [(i, name) for i, name in enumerate(names) if name]
    spaced = len(named) == 1 or named[1][0] - named[0][0] > 1
    if scale is None or not named or (spaced and any(i % 3 for i, _ in named)):
        return None
    columns = [i if spaced else 3 * k for k, (i, _) in enumerate(named)]
    body = [line for line in lines[at + 2 :] if line.strip()]
    rows = [[c.strip(" ") for c in line.split("\t")] if "\t" in line else line.split() for line in body]
    longest = max(columns[-1] + 5, len(lines[at + 1].split()) + 2)
    table = np.full((len(rows), longest), np.nan)
    for k, cells in enumerate(rows):
        while len(cells) > longest and not cells[-1]:
            cells.pop()
        good = [(c, cell) for c, cell in enumerate(cells) if cell and cell.lower().lstrip("+-") != "nan"]
        if len(cells) > longest or not all(_NUMBER.fullmatch(cell) for _, cell in good):
            return None
        for c, cell in good:
            table[k, c] = float(cell)
    chosen = [2 + c + axis for c in columns for axis in range(3)]
    return Table(table[:, 1], scale * table[:, chosen], tuple(name for _, name in named))


def plain_clip(path: Path) -> Table | None:
    """39 points a row, mm, Z up, turned to the way the toes point."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("ascii")
    rows = [[c.strip() for c in row.split(",")] for row in re.split("\r\n|\r|\n", text) if row.strip()]
    if {len(row) for row in rows} != {117} or not all(_NUMBER.fullmatch(c) for row in rows for c in row):
        return None
    p = np.array([[float(c) for c in row] for row in rows]).reshape(len(rows), 39, 3)
    p[(p == 0.0).all(axis=2)] = np.nan
    feet = [p[:, MARKERS.index(f"{s}TOE"), 0] - p[:, MARKERS.index(f"{s}HEE"), 0] for s in "LR"]
    sign = 1.0 if np.nansum(feet) > 0 else -1.0
    turned = np.stack([sign * p[:, :, 0], p[:, :, 2], -sign * p[:, :, 1]], axis=2) / 1000.0
    return Table(np.arange(len(p)) / 100.0, turned.reshape(len(p), -1), MARKERS)


def yaml_metadata(path: Path) -> dict[str, Any] | None:
    """By libyaml's safe loader where it is there; numbers and texts only."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(path.read_bytes().decode("utf-8-sig"), Loader=loader)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


# OpenSim, in a process of its own


class Oracle:
    """OpenSim's readers in a process that is replaced when it dies, hangs or has grown old."""

    def __init__(self) -> None:
        self.restarts, self._asked = -1, 0
        self._start()

    def ask(self, questions: Sequence[tuple[str, Path]]) -> list[dict[str, Any]]:
        """What each of OpenSim's readers makes of the files; a text is an error."""
        answers: list[dict[str, Any]] = []
        if self._asked >= ORACLE_CASES:
            self.close()
            self._start()
        self._asked += len(questions)
        while len(answers) < len(questions):
            try:
                self._connection.send([(reader, str(path)) for reader, path in questions[len(answers) :]])
                while len(answers) < len(questions) and self._connection.poll(2.0 * LIMIT_S):
                    answers.append(self._connection.recv())
                broken = "hangs"
            except (EOFError, OSError):
                broken = "crashes"
            if len(answers) < len(questions):
                answers.append({"OpenSim": broken})
                self.close()
                self._start()
                self.restarts += 1
        return answers

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()
        self.restarts, self._asked = max(self.restarts, 0), 0


def _serve(connection: Connection) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    import opensim

    opensim.Logger.removeFileSink()
    opensim.Logger.setLevelString("Off")
    connection.send("ready")
    while True:
        try:
            questions = connection.recv()
        except EOFError:
            return
        for reader, path in questions:
            connection.send({name: _answer(ask, opensim, path) for name, ask in _OPENSIM[reader].items()})


def _answer(ask: Callable[[Any, str], Any], opensim: Any, path: str) -> Any:
    try:
        return ask(opensim, path)
    except (RuntimeError, ValueError, TypeError, AttributeError, UnicodeError, SystemError) as error:
        return f"{type(error).__name__}: {error}"[:200]


def _by_table(opensim: Any, path: str) -> Table:
    _check_ends(path)
    table = opensim.TimeSeriesTable(path)
    values = table.getMatrix().to_numpy().copy()
    said = table.getTableMetaDataString("inDegrees") if table.hasTableMetaDataKey("inDegrees") else ""
    return Table(
        np.array(table.getIndependentColumn()),
        values,
        _decoded(table.getColumnLabels()),
        {"yes": True, "no": False}.get(said),
    )


def _check_ends(path: str) -> None:
    if not re.search(rb"(\n|\A)endheader[ \t]*\r?\n", Path(path).read_bytes()):
        raise ValueError("OpenSim never returns from a file without a line endheader")


def _by_storage(opensim: Any, path: str) -> Table:
    _check_ends(path)
    storage = opensim.Storage(path)
    labels = storage.getColumnLabels()
    names = _decoded(labels.get(i) for i in range(labels.getSize()))
    vectors = [storage.getStateVector(i) for i in range(storage.getSize())]
    rows = [[v.getData().get(c) for c in range(v.getSize())] for v in vectors]
    return Table(np.array([v.getTime() for v in vectors]), np.array(rows), names[1:], storage.isInDegrees())


def _by_trc(opensim: Any, path: str) -> Table:
    table = opensim.TimeSeriesTableVec3(path)
    names, units = _decoded(table.getColumnLabels()), table.getTableMetaDataString("Units")
    flat = table.flatten()
    values = flat.getMatrix().to_numpy().copy()
    return Table(np.array(table.getIndependentColumn()), values * METRES.get(units.lower(), np.nan), names)


def _decoded(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels with replacement characters where bytes are no UTF-8, as in the package."""
    return tuple(label.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for label in labels)


def _or_nothing(identifier: Callable[[], str]) -> str:
    """An optional property that is not there makes OpenSim throw."""
    try:
        return identifier()
    except RuntimeError:
        return ""


def _by_loads(opensim: Any, path: str) -> tuple[Any, ...]:
    loads = opensim.ExternalLoads(path, True)
    forces = []
    for i in range(loads.getSize()):
        f = opensim.ExternalForce.safeDownCast(loads.get(i))
        said = [
            f.getName().strip().replace("externalforce", "") or "unnamed",
            f.get_applied_to_body(),
            f.get_force_expressed_in_body(),
            f.get_point_expressed_in_body(),
        ]
        said += [
            _or_nothing(f.getForceIdentifier),
            _or_nothing(f.getPointIdentifier),
            _or_nothing(f.getTorqueIdentifier),
        ]
        if f.get_appliesForce():
            forces.append((said[0], *("" if x == "Unassigned" else x for x in said[1:])))
    return Path(loads.getDataFileName().replace("\\", "/")).name, tuple(forces)


_OPENSIM: dict[str, dict[str, Callable[[Any, str], Any]]] = {
    "storage": {"TimeSeriesTable": _by_table, "Storage": _by_storage},
    "trc": {"TimeSeriesTableVec3": _by_trc},
    "external_loads": {"ExternalLoads": _by_loads},
}


# Judgement


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """TimeoutError after so much processor time."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def attempt(reader: str, path: Path) -> Verdict | Any:
    """What the package's reader makes of a damaged file, or the verdict where it makes nothing of it."""
    refusal = _READERS[reader][1]
    try:
        with at_most(LIMIT_S), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            return read(reader, path)
    except TimeoutError as error:
        return Verdict("slow", str(error))
    except Exception as error:  # noqa: BLE001
        if type(error) is refusal:
            return Verdict("refused")
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
        return Verdict("uncaught", f"{type(error).__name__} at {place}: {str(error)[:300]}")


def judge(reader: str, path: Path, mine: Any, theirs: dict[str, Any]) -> Verdict:
    """Compare what we read with OpenSim's readers, or an independent parse where those do not read such files."""
    if reader == "metadata":
        return _judge_metadata(path, mine)
    if reader == "external_loads":
        return _judge_loads(mine, theirs)
    if reader in _OPENSIM:
        return _judge_table(reader, path, mine, theirs)
    other = plain_clip(path)
    same = other is not None and mine.same_as(other)
    return Verdict("plain") if same else Verdict("misread", "the plain parse gives other numbers")


def _judge_table(reader: str, path: Path, mine: Table, theirs: dict[str, Any]) -> Verdict:
    tables = {name: t for name, t in theirs.items() if isinstance(t, Table)}
    close = _as_storage if reader == "storage" else _as_trc
    same = [name for name, t in tables.items() if close(mine, t)]
    if same and "TimeSeriesTable" not in set(tables) - set(same):
        return Verdict("equal", ", ".join(same))
    other = plain_storage(path) if reader == "storage" else plain_trc(path)
    plain = (
        other is not None and _gaps_apart(mine, other) if reader == "trc" else other is not None and mine.same_as(other)
    )
    if not plain:
        return Verdict(
            "misread", f"OpenSim: {_said(theirs)}; plain parse: {'refuses' if other is None else 'reads otherwise'}"
        )
    if not tables:
        return Verdict("plain")
    if any(_ends_at_blank_line(reader, path, mine, t) for t in tables.values()):
        return Verdict("trap", "OpenSim stops at a blank line")
    if reader == "trc" and any(_without_first(mine, t) for t in tables.values()):
        return Verdict("trap", "TRCFileAdapter drops what stands where the blank line should be")
    if re.search(rb"\r(?!\n)", path.read_bytes()):
        return Verdict("trap", "a carriage return alone ends a line for us, not for OpenSim")
    if set(tables) == {"Storage"} and (mine.contradicted or "TimeSeriesTable" in theirs):
        return Verdict("trap", "Storage alone reads it, otherwise")
    return Verdict("differs", _difference(mine, next(t for n, t in tables.items() if n not in same)))


def _as_storage(mine: Table, t: Table) -> bool:
    return mine.same_as(t) and (mine.in_degrees is None or t.in_degrees is None or mine.in_degrees == t.in_degrees)


def _as_trc(mine: Table, t: Table) -> bool:
    return _gaps_apart(mine, t)


def _gaps_apart(mine: Table, t: Table) -> bool:
    """Equal where we saw a marker; where we did not, the other has a NaN or three zeros."""
    if mine.names != t.names or mine.values.shape != t.values.shape or not np.allclose(mine.time, t.time, rtol=1e-12):
        return False
    a, b = mine.values.reshape(len(mine.time), -1, 3), t.values.reshape(len(mine.time), -1, 3)
    gap = np.isnan(a).all(axis=2)
    excused = np.isnan(b).any(axis=2) | (b == 0.0).all(axis=2)
    return bool(excused[gap].all()) and np.allclose(a[~gap], b[~gap], rtol=1e-9, atol=1e-300)


def _ends_at_blank_line(reader: str, path: Path, mine: Table, t: Table) -> bool:
    rows = len(t.time)
    if not rows < len(mine.time) or not re.search(
        rb"\n[ \t\r\x0b\x0c\x1c-\x1f]*(\n|\r)[ \t]*[\d.+-]", path.read_bytes()
    ):
        return False
    start = Table(mine.time[:rows], mine.values[:rows], mine.names, mine.in_degrees)
    return _as_storage(start, t) if reader == "storage" else _as_trc(start, t)


def _without_first(mine: Table, t: Table) -> bool:
    return len(mine.time) > 1 and _as_trc(Table(mine.time[1:], mine.values[1:], mine.names), t)


def _judge_loads(mine: Any, theirs: dict[str, Any]) -> Verdict:
    other = next(iter(theirs.values()), "not asked")
    if isinstance(other, str):
        return Verdict("alone", other)
    return Verdict("equal") if mine == other else Verdict("differs", f"we read {mine}, OpenSim {other}")


def _judge_metadata(path: Path, mine: dict[str, Any]) -> Verdict:
    content = yaml_metadata(path)
    known = {
        key: value
        for key, value in mine.items()
        if value is not None and not (key == "subjectID" and value == path.parent.name)
    }
    if not known:
        return Verdict("refused")
    text = "\n".join(_lines_of(path))
    for key, value in known.items():
        said = None if content is None else content.get(key)
        lines = re.findall(rf"^[\"']?{key}[\"']?[ \t]*:(?=\s|$)[ \t]*(.*?)[ \t]*(?: #.*)?$", text, re.MULTILINE)
        texts = {str(said).strip(), *lines} | {line.strip("'\"") for line in lines}
        right = (
            any(_NUMBER.fullmatch(t) and float(t) == value for t in texts)
            if isinstance(value, float)
            else value in texts
        )
        if not right or len(set(lines)) > 1:
            return Verdict("misread", f"{key} is read as {value!r}; libyaml: {said!r}; lines: {lines}")
    return Verdict("equal")


def _difference(mine: Table, t: Table) -> str:
    if mine.names != t.names:
        return f"labels: {set(mine.names) ^ set(t.names)}"
    if mine.values.shape != t.values.shape:
        return f"shape {mine.values.shape}, OpenSim {t.values.shape}"
    if mine.in_degrees != t.in_degrees:
        return f"degrees {mine.in_degrees}, OpenSim {t.in_degrees}"
    return f"numbers or times, e.g. {mine.time[:3]} and {t.time[:3]}"


def _said(theirs: dict[str, Any]) -> str:
    return (
        "; ".join(f"{name} {t if isinstance(t, str) else 'reads otherwise'}" for name, t in theirs.items())
        or "not asked"
    )


# The run


@dataclass(frozen=True)
class Case:
    """A damaged file and what it came to."""

    number: int
    reader: str
    content: bytes
    verdict: Verdict


class Fuzzer:
    """Cases by number: source, mutations, verdict."""

    def __init__(self, folder: Path, seed: int, sources: Sequence[Source]):
        self.folder, self.seed = folder, seed
        self.by_reader: dict[str, list[Source]] = {}
        for source in sources:
            self.by_reader.setdefault(source.reader, []).append(source)

    def damaged(self, number: int) -> tuple[str, Path, bytes]:
        """Reader, place and content of one case."""
        rng = random.Random(f"{self.seed}/{number}")
        reader = rng.choices(tuple(self.by_reader), [_SHARES[r] for r in self.by_reader])[0]
        source = rng.choice(self.by_reader[reader])
        content = mutated(source, rng)
        place = self.folder / reader / str(number % BATCH)
        place.mkdir(parents=True, exist_ok=True)
        for name in source.beside:
            (place / name).touch()
        path = place / (source.name if reader == "metadata" else f"case{Path(source.name).suffix}")
        path.write_bytes(content)
        return reader, path, content

    def cases(self, numbers: range, oracle: Oracle | None) -> list[Case]:
        """Some cases, at most BATCH, and their verdicts; without an oracle by independent parses only."""
        found = [(number, *self.damaged(number)) for number in numbers]
        attempts = [attempt(reader, path) for _, reader, path, _ in found]
        open_ones = [k for k, a in enumerate(attempts) if not isinstance(a, Verdict)]
        asked = [k for k in open_ones if oracle is not None and found[k][1] in _OPENSIM]
        answers = dict(
            zip(asked, oracle.ask([found[k][1:3] for k in asked]) if oracle is not None else [], strict=True)
        )
        for k in open_ones:
            attempts[k] = judge(found[k][1], found[k][2], attempts[k], answers.get(k, {}))
        return [Case(n, reader, content, v) for (n, reader, _, content), v in zip(found, attempts, strict=True)]


_SHARES = {"storage": 35, "trc": 25, "external_loads": 15, "metadata": 15, "ui_prmd": 10}


def run(out: Path, count: int, seed: int, sources: Path | None, readers: Sequence[str]) -> Tally:
    """Go on to `count` cases and write counts and findings."""
    (out / "findings").mkdir(parents=True, exist_ok=True)
    tally, oracle = Tally.load(out / "counts.json", seed), Oracle()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        (Path(scratch) / "generated").mkdir()
        found = generated_sources(Path(scratch) / "generated") + (real_sources(sources) if sources else [])
        fuzzer = Fuzzer(Path(scratch), seed, [s for s in found if s.reader in readers])
        started = time.monotonic()
        try:
            while tally.done < count:
                for case in fuzzer.cases(range(tally.done, min(tally.done + BATCH, count)), oracle):
                    tally.counts[f"{case.reader}/{case.verdict.kind}"] += 1
                    if case.verdict.kind in FINDINGS:
                        _keep(out / "findings", tally, case)
                    tally.done += 1
                tally.oracle_restarts = oracle.restarts
                tally.save(out / "counts.json")
                print(f"{tally.done} cases, {time.monotonic() - started:.0f} s", flush=True)
        finally:
            tally.oracle_restarts = oracle.restarts
            tally.save(out / "counts.json")
            oracle.close()
    return tally


def _keep(folder: Path, tally: Tally, case: Case) -> None:
    kind = f"{case.reader} {case.verdict.kind} {re.sub(r'[0-9]+', '#', case.verdict.text)[:80]}"
    tally.kinds[kind] += 1
    if tally.kinds[kind] <= KEPT_PER_KIND:
        name = f"{case.number:07d}_{case.reader}_{case.verdict.kind}"
        (folder / f"{name}.bin").write_bytes(case.content)
        (folder / f"{name}.txt").write_text(case.verdict.text + "\n", encoding="utf-8", errors="replace")


def main() -> int:
    """Run and print the table of counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sources", type=Path)
    parser.add_argument("--readers", default=",".join(_SHARES))
    arguments = parser.parse_args()
    tally = run(arguments.out, arguments.count, arguments.seed, arguments.sources, arguments.readers.split(","))
    for key, count in sorted(tally.counts.items()):
        print(f"{key:28s} {count:8d}")
    found = [f"{count} × {kind}" for kind, count in tally.kinds.most_common()]
    print("\n".join(found) or "No findings.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
