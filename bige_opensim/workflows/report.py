"""One offline HTML file on generated motions, for readers who never saw the tool."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import xarray as xr

from bige_opensim.guidance.generated import Generated
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.io.storage import StorageError
from bige_opensim.labelling.label import LabelError
from bige_opensim.learning.dataset import save_dataset
from bige_opensim.motion import MotionError
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.osim.model import ModelError
from bige_opensim.reporting.report import ReportError, Scene, WrittenReport
from bige_opensim.reporting.report import report as write_report
from bige_opensim.validation.norms_files import Norms
from bige_opensim.validation.roundtrip import ValidationError
from bige_opensim.viewer.page import as_html
from bige_opensim.viewer.script import script_source
from bige_opensim.viewer.sources import ViewError
from bige_opensim.workflows.norms import performances_by_session
from bige_opensim.workflows.validate import motions_folder
from bige_opensim.workflows.view import FILE_HZ, takes_of, title_of


def report(
    found: Generated | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    reference: xr.Dataset | str | os.PathLike[str] | None = None,
    norms: Norms | str | os.PathLike[str] | None = None,
    sessions: str | os.PathLike[str] | None = None,
    figures: str | os.PathLike[str] | None = None,
    word: str | os.PathLike[str] | None = None,
    scene: bool = True,
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
    norms
        What is usual, from `norms` or its file: bars with a tick for every motion.
    sessions
        Labels of the person's own recordings, a folder: what each session was is marked in the bars of the norms.
    figures
        Folder for all figures as drawings (svg) and tables (csv).
    word
        A Word template (.docx) of your own to be filled with the same, or "plain"; the document lies beside the report
        and is named like it. Needs the extra `docx`.
    scene
        Whether the report holds the motions in three dimensions, as `view` shows them: about 50 kB a motion.
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
    OutFolderError
        The folder for figures holds something else.
    DatasetError, NormsError, ModelError, StorageError
        The reference, the norms, the model or activations cannot be read.

    """
    written = report_on(
        found,
        out,
        reference=reference,
        norms=norms,
        sessions=sessions,
        figures=figures,
        word=word,
        scene=scene,
        stages=stages,
    )
    for sentence in written.contradictions:
        warnings.warn(f"contradiction: {sentence}", stacklevel=2)
    return written.path


@quiet_opensim()
def report_on(
    found: Generated | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    reference: xr.Dataset | str | os.PathLike[str] | None = None,
    norms: Norms | str | os.PathLike[str] | None = None,
    sessions: str | os.PathLike[str] | None = None,
    figures: str | os.PathLike[str] | None = None,
    word: str | os.PathLike[str] | None = None,
    scene: bool = True,
    stages: Mapping[str, float] | None = None,
) -> WrittenReport:
    """`report`, with what contradicts certificates."""
    folder = motions_folder(found)
    target = None if out is None else Path(out)
    moving = _scene(folder) if scene else None
    drawn = None if figures is None else Path(figures)
    usual = norms if norms is None or isinstance(norms, Norms) else Norms.load(Path(norms))
    if sessions is not None and usual is None:
        raise ReportError("Sessions are shown in the bars of norms: name these too (norms=, --norms).")
    own = None if sessions is None else performances_by_session(sessions)
    written = partial(
        write_report,
        folder,
        out=target,
        stages=stages,
        norms=usual,
        figures=drawn,
        scene=moving,
        sessions=own,
        word=None if word is None else Path(word),
    )
    if isinstance(reference, xr.Dataset):
        with TemporaryDirectory(prefix="bige-report-") as scratch:
            given = Path(scratch) / "reference.nc"
            save_dataset(reference, given)
            return written(cohort=given)
    if (
        reference is None
        and isinstance(found, Generated)
        and found.references is not None
        and found.references.is_file()
    ):
        reference = found.references
    return written(cohort=None if reference is None else Path(reference))


def _scene(folder: Path) -> Scene:
    """The motions of a folder in three dimensions; files that cannot be read are the report's to name."""
    try:
        takes = takes_of(folder, FILE_HZ)
    except (ViewError, ValidationError, ObjectiveError, LabelError, StorageError, ModelError, MotionError) as error:
        return Scene("", "", f"The motions cannot be shown in three dimensions: {error}")
    return Scene(as_html(takes, title=title_of(takes)), script_source())
