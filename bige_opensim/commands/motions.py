"""Motions by an objective, OpenSim's verdict and the report: `bige generate`, `bige validate`, `bige report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from bige_opensim.commands.display import Steps, console, fail
from bige_opensim.commands.json_output import JsonTarget, json_output


def generate(
    *,
    objective: str,
    model: Path,
    out: Path,
    generator: str = "built-in",
    surrogate: str = "built-in",
    count: Annotated[int, Parameter(name=["-n", "--count"])] = 8,
    seed: int = 0,
    iterations: int | None = None,
    predictor: Literal["auto", "surrogate", "physics"] = "auto",
    rehearsals: int = 4,
    refine: int = 0,
    strength: Annotated[list[str] | None, Parameter(negative=())] = None,
    limit: Annotated[list[str] | None, Parameter(negative=())] = None,
    load: Annotated[list[str] | None, Parameter(negative=())] = None,
    chair: str | None = None,
) -> int:
    """Search for motions that meet an objective.

    Parameters
    ----------
    objective
        Objective file (TOML), or the name of one that comes with the package (`bige objective list`).
    model
        The subject's model.
    out
        Folder for the motions.
    generator
        Checkpoint of the generator; the one that comes with the package where none is named.
    surrogate
        Checkpoint of the surrogate; the one that comes with the package where none is named.
    count
        How many motions.
    seed
        Seed of the starting points.
    iterations
        Replaces the objective's number of search iterations.
    predictor
        What says how active the muscles are: the surrogate, or the physics of the subject's model; auto takes the
        physics where it is as fast and no surrogate is named, and where a term measures moments or forces.
    rehearsals
        How often, at most, the motions are labelled as the verdict will label them, by the fast solver, and searched on
        where that differs from what was predicted; 0 for never.
    refine
        After how many of these rounds the surrogate is refined, for this search, on the motions that were simulated.
    strength
        How strong the subject's muscles are, as MUSCLE=FACTOR of the model's: vas*_r=0.7. Names, patterns or groups.
    limit
        How far a joint goes without pain, as COORDINATE=LOW..HIGH in degrees or metres: knee_angle_r=0..90.
    load
        What the person carries, as MASSkg@BODY: 60kg@torso is a bar on the back, 20kg@hands, 10kg@hand_r.
    chair
        What sit-to-stands start on: HEIGHT of the seat above the ground in m; auto (default) is where a motion begins.

    """
    from bige_opensim.guidance.generated import GenerationError, require_free
    from bige_opensim.guidance.language import ObjectiveError
    from bige_opensim.guidance.search import SearchError
    from bige_opensim.learning.checkpoint import CheckpointError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.physics.carried_loads import CarriedLoadError
    from bige_opensim.settings import SettingError
    from bige_opensim.workflows.generate import generate as run
    from bige_opensim.workflows.personal import PersonError, parse_person

    try:
        require_free(out)
        person = parse_person(strength or [], limit or [], load or [])
        found = run(
            objective,
            model=model,
            generator=generator,
            surrogate=surrogate,
            count=count,
            seed=seed,
            iterations=iterations,
            predictor=predictor,
            rehearsals=rehearsals,
            refine=refine,
            strength=person.strength,
            limits=person.limits,
            load=load,
            chair=chair,
            show=Steps,
        )
        found.save(out)
    except (GenerationError, ObjectiveError, SearchError, CheckpointError) as error:
        return fail(str(error))
    except (CarriedLoadError, ModelError, PersonError, SettingError) as error:
        return fail(str(error))
    console.print(
        f"{found.satisfied} of {count} motions meet the objective as predicted; `bige validate {out}` asks OpenSim.",
        highlight=False,
    )
    for sentence in (*found.record["notes"], *found.conflicts):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    return 0


def validate(
    motions: Path,
    /,
    *,
    jobs: int | None = None,
    every_frame: bool = False,
    uncertainty: int = 0,
    json: JsonTarget = None,
) -> int:
    """Put generated motions back through OpenSim and write their certificates.

    Parameters
    ----------
    motions
        Folder that `bige generate` wrote.
    jobs
        Motions simulated at once; by default one per processor core.
    every_frame
        Have OpenSim solve every frame. By default it solves those that can decide something and some drawn at random;
        the fast solver, with OpenSim's own muscle paths, solves the others.
    uncertainty
        Draws of body and motion from which the bands of certificates are found, such as 200; 0 for none.
    json
        Also write the verdicts to this file; - for standard output.

    """
    from bige_opensim.workers.worker_process import PROCESSES

    PROCESSES.start(int(motions.is_dir()), "bige_opensim.labelling.label_task")

    from bige_opensim.guidance.language import ObjectiveError
    from bige_opensim.io.storage import StorageError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.settings import SettingError
    from bige_opensim.validation.roundtrip import ValidationError, summary_row
    from bige_opensim.workflows.validate import validate_folder

    try:
        with json_output(json) as write:
            verdicts = validate_folder(motions, jobs=jobs, every_frame=every_frame, uncertainty=uncertainty, show=Steps)
            confirmed = sum(v.confirmed for v in verdicts)
            rows = [summary_row(v) for v in verdicts]
            write({"format": "bige-verdicts/1", "confirmed": confirmed, "motions": rows})
            console.print(f"{confirmed} of {len(verdicts)} motions confirmed by OpenSim; see {motions / 'summary.csv'}")
    except (ValidationError, ObjectiveError, ModelError, SettingError, StorageError) as error:
        return fail(str(error))
    return 0 if any(v.certificate for v in verdicts) and not any(v.contradictions for v in verdicts) else 1


def report(
    motions: Path,
    /,
    *,
    reference: Path | None = None,
    norms: Path | None = None,
    sessions: Path | None = None,
    figures: Path | None = None,
    docx: str | None = None,
    scene: bool = True,
    out: Path | None = None,
) -> int:
    """Write one offline HTML file that shows what was asked, the verdict on every motion, and its curves.

    Parameters
    ----------
    motions
        Folder that `bige generate` and `bige validate` wrote.
    reference
        Dataset of repetitions (netCDF) whose range the curves are shown in; by default the training repetitions of the
        generator, where its folder lies beside that of the motions.
    norms
        Norms (norms.json) of `bige norms`, which the motions are shown beside.
    sessions
        Labels of the person's own recordings, which are marked in the bars of the norms.
    figures
        Also write all figures into this folder, as drawings (svg) and tables (csv).
    docx
        Also fill this Word template (.docx) into a document named like the report; "plain" for a template of ours,
        which is written beside it for you to change.
    scene
        Whether the motions are in it in three dimensions, about 50 kB each.
    out
        File to write; by default report.html in the folder of the motions.

    """
    from bige_opensim.io.partial_folders import OutFolderError
    from bige_opensim.io.storage import StorageError
    from bige_opensim.learning.dataset import DatasetError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.reporting.report import ReportError
    from bige_opensim.validation.norms_files import NormsError
    from bige_opensim.workflows.report import report_on

    try:
        path, contradictions, document = report_on(
            motions, out, reference=reference, norms=norms, sessions=sessions, figures=figures, word=docx, scene=scene
        )
    except (ReportError, NormsError, DatasetError, ModelError, OutFolderError, StorageError) as error:
        return fail(str(error))
    for sentence in contradictions:
        console.print(f"contradiction: {sentence}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{path}: open it in a browser", markup=False, highlight=False, soft_wrap=True)
    if document is not None:
        console.print(f"{document}: open it in Word", markup=False, highlight=False, soft_wrap=True)
    return 1 if contradictions else 0
