"""Tidy tables: every number of a label, with the unit of its column."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose

import bige_opensim as bige
from bige_opensim.labelling.label import Label


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_csv(path, keep_default_na=False) for path in folder.glob("*.csv")}


def test_tables_hold_the_channels_of_every_trial_under_their_opensim_names(label: Label, tmp_path: Path):
    label.save(tmp_path / "labels" / "s1" / "before")
    label.save(tmp_path / "labels" / "s1" / "after")
    found = tables(bige.export(tmp_path / "labels", "csv", tmp_path / "csv").folder)
    known = {"coordinates", "activations", "moments", "ground_forces", "trials", "units"}
    assert set(found) == known | ({"joint_loads"} if len(label.joint_loads.columns) else set())
    for name, expected in (
        ("activations", label.activations),
        ("moments", label.moments),
        ("ground_forces", label.ground_forces),
        *([("joint_loads", label.joint_loads)] if len(label.joint_loads.columns) else []),
    ):
        assert list(found[name].columns) == ["trial", "time", *expected.columns]
        mine = found[name][found[name]["trial"] == "s1/before"]
        assert_allclose(mine[list(expected.columns)].to_numpy(), expected.to_numpy(), rtol=1e-7, atol=1e-8)
        assert_allclose(mine["time"], expected.index)
    assert set(found["activations"]["trial"]) == {"s1/before", "s1/after"}
    knee = found["coordinates"][found["coordinates"]["trial"] == "s1/after"]["knee_angle_r"]
    assert_allclose(knee, np.rad2deg(label.coordinates["knee_angle_r"]), atol=1e-6)


def test_every_column_of_every_table_has_its_unit(label: Label, tmp_path: Path):
    found = tables(bige.export(label, "csv", tmp_path / "csv").folder)
    units = {(row.table, row.column): row.unit for row in found.pop("units").itertuples()}
    assert set(units) == {(name, column) for name, table in found.items() for column in table.columns}
    assert units["coordinates", "knee_angle_r"] == "degrees"
    assert units["coordinates", "pelvis_tx"] == "m"
    assert units["moments", "knee_angle_r_moment"] == "N m"
    assert units["moments", "pelvis_tx_force"] == "N"
    assert units["ground_forces", "ground_force_r_vy"] == "N"
    assert units["ground_forces", "ground_force_r_px"] == "m"
    assert units["ground_forces", "ground_torque_r_y"] == "N m"
    assert units["trials", "gate reserves"] == label.gates["reserves"].unit


def test_the_table_of_trials_says_what_the_label_says(label: Label, tmp_path: Path):
    row = tables(bige.export(label, "csv", tmp_path / "csv").folder)["trials"].iloc[0]
    assert (row["trial"], row["status"], row["reason"]) == (label.trial, label.record["status"], label.reason)
    assert row["mass"] == label.record["mass_kg"]
    assert row["gate residual_force"] == float(f"{label.gates['residual_force'].value:.9g}")
