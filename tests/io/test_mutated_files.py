"""Damaged files: every reader refuses them with its own error or reads what OpenSim, or an independent parse, reads."""

import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bige_opensim.io.external_loads import ExternalLoadsError, read_external_loads
from bige_opensim.io.opencap import find_sessions
from bige_opensim.io.storage import StorageError, read_storage
from bige_opensim.io.trc import TrcError, read_trc
from bige_opensim.io.ui_prmd import MARKERS, UiPrmdError, read_clip

PROGRAM = Path(__file__).resolve().parents[1] / "fuzz" / "fuzz_readers.py"
FEW = 600


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    sys.path.insert(0, str(PROGRAM.parent))  # where spawned processes look too
    yield importlib.import_module(PROGRAM.stem)
    sys.path.remove(str(PROGRAM.parent))


@pytest.fixture(scope="module")
def fuzzer(fuzz: ModuleType, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("fuzz")
    return fuzz.Fuzzer(folder, 1, fuzz.generated_sources(folder))


def findings(fuzz: ModuleType, cases) -> list[str]:
    return [
        f"{c.number} {c.reader} {c.verdict.kind}: {c.verdict.text}" for c in cases if c.verdict.kind in fuzz.FINDINGS
    ]


def test_damaged_files_are_refused_or_read_as_opensim_reads_them(fuzz: ModuleType, fuzzer):
    pytest.importorskip("opensim")
    oracle = fuzz.Oracle()
    try:
        cases = [c for at in range(0, FEW, fuzz.BATCH) for c in fuzzer.cases(range(at, at + fuzz.BATCH), oracle)]
    finally:
        oracle.close()
    assert not findings(fuzz, cases)
    counts = Counter((c.reader, c.verdict.kind) for c in cases)
    assert all(counts[reader, "refused"] > 5 for reader in fuzz._SHARES)
    assert all(counts[reader, "equal"] > 5 for reader in ("storage", "trc", "external_loads", "metadata"))
    assert counts["ui_prmd", "plain"] > 5


@given(st.integers(min_value=1_000_000))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_makes_a_reader_break_hang_or_read_other_numbers_than_a_plain_parse(fuzz: ModuleType, fuzzer, number):
    (case,) = fuzzer.cases(range(number, number + 1), None)
    if case.reader == "external_loads":
        assert case.verdict.kind not in ("uncaught", "slow"), case.verdict.text
    else:
        assert not findings(fuzz, [case])


def test_the_program_finds_a_reader_that_drops_what_it_cannot_read(fuzz: ModuleType, fuzzer, monkeypatch):
    readers = dict(fuzz._READERS)
    honest = readers["storage"]

    def careless(path: Path):
        table = honest[0](path)
        return fuzz.Table(table.time, np.round(table.values, 1), table.names, table.in_degrees)

    monkeypatch.setitem(fuzz._READERS, "storage", (careless, honest[1]))
    assert any("misread" in line for line in findings(fuzz, fuzzer.cases(range(100), None)))

    def breaking(path: Path):
        raise KeyError(path.name)

    monkeypatch.setitem(fuzz._READERS, "storage", (breaking, honest[1]))
    assert any("uncaught: KeyError" in line for line in findings(fuzz, fuzzer.cases(range(100), None)))


def test_a_stopped_run_goes_on_where_it_was_and_counts_the_same(fuzz: ModuleType, tmp_path: Path):
    pytest.importorskip("opensim")
    readers = ("metadata", "ui_prmd")
    fuzz.run(tmp_path / "a", 60, 3, None, readers)
    resumed = fuzz.run(tmp_path / "a", 120, 3, None, readers)
    once = fuzz.run(tmp_path / "b", 120, 3, None, readers)
    assert resumed.done == once.done == 120
    assert resumed.counts == once.counts


STORAGE = "Coordinates\nversion=1\nnRows=2\nnColumns=2\ninDegrees=yes\nendheader\ntime\ta\n0\t{}\n1\t2\n"
TRC = (
    "PathFileType\t4\t(X/Y/Z)\tx.trc\nDataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\n100\t100\t2\t2\tm\n"
    "Frame#\tTime\tA\t\t\tB\t\t\n\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n\n1\t0.0\t{}\t0.2\t0.3\t0.4\t0.5\t0.6\n2\t0.1\t0\t0.1\t0.2\t1\t1\t1\n"
)
NOT_NUMBERS = ["5.38_25426", "1_000", "١٢", "１", "1\x0b2", "\x850.5", "\x1c1", "0x10"]


@pytest.mark.parametrize("cell", NOT_NUMBERS)
def test_what_only_python_takes_for_a_number_is_refused(tmp_path: Path, cell: str):
    (tmp_path / "a.mot").write_text(STORAGE.format(cell), encoding="utf-8")
    with pytest.raises(StorageError, match=r"not a number|cells where"):
        read_storage(tmp_path / "a.mot")
    (tmp_path / "a.trc").write_text(TRC.format(cell), encoding="utf-8")
    with pytest.raises(TrcError, match="not a number"):
        read_trc(tmp_path / "a.trc")
    (tmp_path / "m01.txt").write_text(",".join([cell, *["1"] * (3 * len(MARKERS) - 1)]) + "\n", encoding="utf-8")
    with pytest.raises(UiPrmdError):
        read_clip(tmp_path / "m01.txt")


def test_counts_of_thousands_of_digits_are_no_counts(tmp_path: Path):
    (tmp_path / "a.mot").write_text(STORAGE.format("1").replace("nRows=2", f"nRows={'9' * 5000}"))
    assert read_storage(tmp_path / "a.mot").values.tolist() == [[1.0], [2.0]]
    (tmp_path / "a.trc").write_text(TRC.format("1").replace("100\t100\t2\t2", f"{'9' * 5000}\t100\t{'9' * 5000}\t2"))
    assert len(read_trc(tmp_path / "a.trc").time) == 2


def test_a_row_with_more_cells_than_markers_is_refused_for_it_may_be_shifted(tmp_path: Path):
    (tmp_path / "a.trc").write_text(TRC.format("0.1\t0.1"))
    with pytest.raises(TrcError, match="line 7 has 9 cells where 2 markers need 8"):
        read_trc(tmp_path / "a.trc")


def test_a_row_that_lost_a_cell_is_refused_though_a_tab_at_its_end_makes_up_for_it(tmp_path: Path):
    content = TRC.format("0.1").replace("0.6\n", "0.6\t\n").replace("1\t1\t1\n", "1\t1\t1\t\n")
    (tmp_path / "a.trc").write_text(content)
    assert read_trc(tmp_path / "a.trc").positions[0, 0].tolist() == [0.1, 0.2, 0.3]
    (tmp_path / "a.trc").write_text(content.replace("0.2\t0.3\t", "0.3\t"))
    with pytest.raises(TrcError, match="line 7 has 8 cells where others have 9"):
        read_trc(tmp_path / "a.trc")


def test_fewer_names_than_the_header_has_markers_are_refused_for_they_may_be_shifted(tmp_path: Path):
    (tmp_path / "a.trc").write_text(TRC.format("0.1").replace("A\t\t\tB", "B"))
    with pytest.raises(TrcError, match="1 names for 2 markers"):
        read_trc(tmp_path / "a.trc")


def test_names_that_reach_beyond_the_axes_are_refused_for_they_are_shifted(tmp_path: Path):
    (tmp_path / "a.trc").write_text(TRC.format("0.1").replace("A\t\t\tB", "A\t\t\t\t\t\tB"))
    with pytest.raises(TrcError, match="2 names for 2 markers and 6 axes"):
        read_trc(tmp_path / "a.trc")


def test_the_line_below_the_names_holds_axes_only_or_a_frame_would_be_lost(tmp_path: Path):
    for line in ("", "1\t0\t1\t1\t1\t1\t1\t1", "\t\tX1\tY1\tZ1.33\t564.4", "\t\tX1 Y1 Z1 5"):
        (tmp_path / "a.trc").write_text(TRC.format("0.1").replace("\t\tX1\tY1\tZ1\tX2\tY2\tZ2", line))
        with pytest.raises(TrcError, match="line 5 should hold X1 Y1 Z1"):
            read_trc(tmp_path / "a.trc")


@pytest.mark.parametrize("other", ["inDegrees = no", "INDEGREES=false", "Angles are in radians.", "inDegrees=maybe"])
def test_a_header_that_gives_two_units_of_angles_is_refused(tmp_path: Path, other: str):
    for lines in (f"{other}\ninDegrees=yes", f"inDegrees=yes\n{other}"):
        (tmp_path / "a.mot").write_text(STORAGE.format("1").replace("inDegrees=yes", lines))
        with pytest.raises(StorageError, match="unit of angles more than once"):
            read_storage(tmp_path / "a.mot")


LOADS = (
    "<OpenSimDocument Version='{version}'>{before}<ExternalLoads><objects><ExternalForce name='f'>{off}"
    "<applied_to_body>b</applied_to_body><force_identifier>v</force_identifier></ExternalForce></objects>{inside}"
    "<datafile>{data}</datafile></ExternalLoads></OpenSimDocument>"
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "a" * 5000}, "its data file a+ is not at"),
        ({"off": "<isDisabled>1d5</isDisabled>"}, "must be true or false"),
        ({"off": "<isDisabled>true</isDisabled><appliesForce>true</appliesForce>"}, "and agree"),
        ({"off": "<isDisabled>true</isDisabled>", "version": 40000}, "OpenSim ignores <isDisabled>"),
        ({"off": "<point_identifier>&#x91;</point_identifier>"}, "cannot be in a name"),
        ({"off": "<point_expressed_in_body/>"}, "<point_expressed_in_body> is empty"),
        ({"before": "<groups/>"}, "as its first element"),
        ({"inside": "<datafile>other.mot</datafile>"}, "must be there once"),
    ],
)
def test_loads_that_opensim_would_read_otherwise_are_refused(tmp_path: Path, change, message):
    (tmp_path / "grf.mot").touch()
    (tmp_path / "a.xml").write_text(
        LOADS.format(**({"data": "grf.mot", "off": "", "before": "", "inside": "", "version": 30000} | change))
    )
    with pytest.raises(ExternalLoadsError, match=message):
        read_external_loads(tmp_path / "a.xml")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 3000,
        "mass_kg: !!timestamp x",
        "mass_kg: 2020-99-99",
        f"mass_kg: {'9' * 5000}",
        "mass_kg: 1_000",
        "mass_kg: 70\nmass_kg: 7",
        "mass_kg: 190:20:30",
        "a: &a [x,x,x]\nmass_kg: [*a,*a]",
        "mass_kg: &a [*a]",
        "=: 1\nmass_kg: ~",
    ],
)
def test_metadata_that_trips_a_parser_of_yaml_gives_no_mass(tmp_path: Path, content: str):
    (tmp_path / "sessionMetadata.yaml").write_text(content)
    (session,) = find_sessions([tmp_path])
    assert session.mass_kg is None


def test_a_subject_of_digits_keeps_its_zeros(tmp_path: Path):
    (tmp_path / "sessionMetadata.yaml").write_text("subjectID: 007\nmass_kg: 70.5 # measured\n")
    (session,) = find_sessions([tmp_path])
    assert (session.subject, session.mass_kg) == ("007", 70.5)
