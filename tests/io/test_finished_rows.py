"""Rows of a long table: made once, whole, and by the settings that they say."""

import pytest

from bige_opensim.io.finished_rows import FinishedRows, OtherRowError


def test_a_row_is_made_once_and_read_afterwards(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"share": 0.5, "unknown": float("nan"), "list": [1.0, float("inf")], "seconds": (2, 3)}

    for _ in range(2):
        row = FinishedRows(tmp_path / "rows").row("a", {"count": 3}, make)
        assert row == {"share": 0.5, "unknown": None, "list": [1.0, None], "seconds": [2, 3]}
    assert made == [1]


def test_a_row_that_fails_leaves_nothing(tmp_path):
    rows = FinishedRows(tmp_path / "rows")
    with pytest.raises(ZeroDivisionError):
        rows.row("a", {}, lambda: {"share": 1 / 0})
    assert not (tmp_path / "rows").exists()


def test_a_row_of_other_settings_is_refused_with_what_differs(tmp_path):
    rows = FinishedRows(tmp_path)
    rows.row("a", {"count": 3, "seed": 0}, lambda: {"share": 1.0})
    with pytest.raises(OtherRowError, match=r"a\.json: made with other settings \(count was 3, now 4\)"):
        rows.row("a", {"count": 4, "seed": 0}, lambda: {"share": 1.0})
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(OtherRowError, match="not a finished row"):
        rows.row("b", {}, lambda: {})
