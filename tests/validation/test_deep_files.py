"""Files nested without end are named in a sentence, wherever a verdict reads them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bige_opensim.labelling.label import Label, LabelError
from bige_opensim.validation.generated_folder import GeneratedFolder, ValidationError

DEEP = "[" * 200_000 + "]" * 200_000


def test_a_certificate_nested_without_end_is_no_certificate(folder: Path, held: Callable[[str], str]):
    (folder / "motion_01" / "certificate.json").write_text(DEEP, encoding="utf-8")
    assert "certificate.json is no certificate" in held("motion_01")
    assert "nested too deep" in held("motion_01")
    assert GeneratedFolder(folder).changed_in_trial("motion_01") == ()


def test_a_label_nested_without_end_cannot_be_read(folder: Path, held: Callable[[str], str]):
    (folder / "motion_01" / "label.json").write_text(DEEP, encoding="utf-8")
    assert "label.json: nested too deep" in held("motion_01")
    with pytest.raises(LabelError, match=r"label\.json: nested too deep.*Label the trial again"):
        Label.load(folder / "motion_01")


def test_a_record_nested_without_end_is_refused(folder: Path):
    (folder / "generation.json").write_text(DEEP, encoding="utf-8")
    with pytest.raises(ValidationError, match=r"generation\.json: nested too deep.*Generate the motions again"):
        GeneratedFolder(folder)
