"""What a report says of joint loads."""

from bige_opensim.reporting.joint_load_facts import load_facts


def load(peak_bw: float, borne_bw: float) -> dict[str, float]:
    return {"peak_bw": peak_bw, "time_s": 1.0, "borne_bw": borne_bw}


def test_peaks_of_both_sides_stand_beside_what_implants_measured():
    facts = dict(load_facts({"knee_r": load(2.61, 10.9), "knee_l": load(2.4, 10.9), "ankle_r": load(4.0, 14.1)}))
    assert facts["Knee load"].startswith("peak 2.6 right and 2.4 left")
    assert "2.5 in squats" in facts["Knee load"]
    assert "Kutzner et al. 2010" in facts["Knee load"]
    assert "body is known" not in facts["Knee load"]
    assert "implants" not in facts["Ankle load"]
    assert "Hip load" not in facts


def test_what_no_body_bears_is_marked():
    facts = dict(load_facts({"knee_r": load(2.6, 10.9), "knee_l": load(14.6, 10.9)}))
    assert "more than any body is known to bear (10.9)" in facts["Knee load"]
