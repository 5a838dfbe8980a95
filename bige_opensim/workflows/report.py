"""One offline HTML file on generated motions, for readers who never saw the tool."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import xarray as xr

from bige_opensim.guidance.generated import Generated
from bige_opensim.learning.dataset import save_dataset
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.reporting.report import WrittenReport
from bige_opensim.reporting.report import report as write_report
from bige_opensim.workflows.validate import motions_folder


def report(
    found: Generated | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    reference: xr.Dataset | str | os.PathLike[str] | None = None,
    stages: Mapping[str, float] | None = None,
) -> Path:
    """Write what was asked, the verdict on every motion, and its curves; motions not yet validated are shown as such.

    Parameters
    ----------
    found
        What `generate` returned, or the folder where it was saved.
    out
        The HTML file; by default `report.html` in the folder of the motions.
    reference
        Repetitions whose range the curves are shown in; by default those that the generator was trained on.
    stages
        Seconds that each stage of the work took, to be shown.

    Returns
    -------
    Path
        The file. What contradicts a certificate is a warning, and stands in the report.

    Raises
    ------
    ReportError
        The folder is no folder of generated motions, its files contradict each other, or `out` has no folder.
    DatasetError, ModelError, StorageError
        The reference, the model or activations cannot be read.

    """
    path, contradictions = report_on(found, out, reference=reference, stages=stages)
    for sentence in contradictions:
        warnings.warn(f"contradiction: {sentence}", stacklevel=2)
    return path


@quiet_opensim()
def report_on(
    found: Generated | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    reference: xr.Dataset | str | os.PathLike[str] | None = None,
    stages: Mapping[str, float] | None = None,
) -> WrittenReport:
    """`report`, with what contradicts certificates."""
    folder = motions_folder(found)
    target = None if out is None else Path(out)
    if isinstance(reference, xr.Dataset):
        with TemporaryDirectory(prefix="bige-report-") as scratch:
            cohort = Path(scratch) / "reference.nc"
            save_dataset(reference, cohort)
            return write_report(folder, out=target, cohort=cohort, stages=stages)
    if reference is None and isinstance(found, Generated) and found.references.is_file():
        reference = found.references
    return write_report(folder, out=target, cohort=None if reference is None else Path(reference), stages=stages)
