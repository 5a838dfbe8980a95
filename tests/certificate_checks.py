"""A certificate against OpenSim's files of the same motion, computed here by numpy alone."""

import json
from pathlib import Path

import numpy as np

from bige_opensim.io.storage import read_storage

MUSCLES, LOW, HIGH = ("vasmed_r", "vasmed_l"), 0.35, 0.45
"""What the objective of these folders asks of the peak of vastus medialis on both sides."""


def assert_certificate_says_what_opensim_wrote(folder: Path, name: str) -> bool:
    """Check the numbers of a certificate, and return whether the motion is confirmed."""
    content = json.loads((folder / name / "certificate.json").read_text(encoding="utf-8"))
    label = json.loads((folder / name / "label.json").read_text(encoding="utf-8"))
    active = read_storage(folder / name / "activations.sto")
    peaks = [active.values[:, active.names.index(m)].max() for m in MUSCLES]
    term = content["terms"]["vastus medialis peak"]
    assert term["target"] == f"between {LOW} and {HIGH}"
    assert term["simulated"] == max(peaks, key=lambda x: max(LOW - x, x - HIGH))
    assert term["satisfied"] is all(LOW <= x <= HIGH for x in peaks)
    assert content["satisfied"] is all(t["satisfied"] for t in content["terms"].values() if t["decides"])

    for gate in (*content["gates"].values(), *content["motion_gates"].values()):
        assert (gate["value"] <= gate["limit"]) is gate.get("passed", gate.get("satisfied"))
    assert content["gates"] == label["gates"]
    assert content["labels"]["status"] == (
        "passed" if all(g["passed"] for g in label["gates"].values()) else "gates_failed"
    )
    plausible = all(g["satisfied"] for g in content["motion_gates"].values())
    assert content["confirmed"] is (content["satisfied"] and label["status"] == "passed" and plausible)

    predicted = read_storage(folder / "predicted" / f"{name}_activations.sto")
    phase = (active.time - active.time[0]) / (active.time[-1] - active.time[0])
    there = np.linspace(0.0, 1.0, len(predicted.time))
    columns = [np.interp(there, phase, active.values[:, active.names.index(m)]) for m in predicted.names]
    error = predicted.values - np.column_stack(columns)
    np.testing.assert_allclose(content["surrogate_gap"]["rmse"], np.sqrt((error**2).mean()), rtol=1e-9)

    force = read_storage(folder / name / "grf.mot")
    vertical = sum(force.values[:, force.names.index(f"ground_force_{s}_vy")].mean() for s in "rl")
    carried = abs(vertical / (9.80665 * label["mass_kg"]) - 1.0) < 0.05
    assert carried or label["status"] != "passed", "the ground carries the body, on the whole"
    return content["confirmed"]
