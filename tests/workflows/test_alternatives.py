"""Ways to come by motions: each proposes what was asked for, in its time, and the best of what it looked at."""

import csv
import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from generated_motions import PEAK, vasti_between
from small_models import biped
from squat_repetitions import repetitions

from bige_opensim.guidance.judging import Judge
from bige_opensim.guidance.language import SearchSettings
from bige_opensim.guidance.search import SearchResult
from bige_opensim.io.finished_rows import OtherRowError
from bige_opensim.learning.baselines import draw_prior
from bige_opensim.learning.checkpoint import load_prior
from bige_opensim.learning.dataset import save_dataset
from bige_opensim.learning.surrogate import SurrogateConfig
from bige_opensim.learning.training import GeneratorTraining, SurrogateTraining, train_generator, train_surrogate
from bige_opensim.learning.vqvae import GeneratorConfig
from bige_opensim.settings import SettingError
from bige_opensim.validation.certificate import Certificate, TermFound
from bige_opensim.workflows import alternatives
from bige_opensim.workflows.alternatives import MUSCLES_ONLY, WAYS, Case, kept_best, propose
from bige_opensim.workflows.evaluate import evaluate
from bige_opensim.workflows.generate import generate
from bige_opensim.workflows.peers import train_diffusion, train_prior

SMALL = {"width": 16, "heads": 2, "layers": 1}
PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Case:
    """Networks of one epoch, a biped, and an objective on its vasti."""
    folder = tmp_path_factory.mktemp("peers")
    model = biped(folder / "biped.osim")
    data = repetitions(model)
    size = np.repeat(np.arange(len(data["features"]) // 4), 4)[:, None]  # all people have this body, with other numbers
    data["features"] = data["features"] + 0.1 * size
    save_dataset(data, folder / "reps.nc")
    small = GeneratorConfig(width=16, latent_width=8, codes=16, stages=1)
    train_generator(data, folder / "generator", GeneratorTraining(epochs=1, model=small))
    train_surrogate(data, folder / "surrogate", SurrogateTraining(epochs=1, model=SurrogateConfig(16, 1)))
    train_prior(data, out=folder / "prior", generator=folder / "generator", settings={"epochs": 1, "model": SMALL})
    train_diffusion(data, out=folder / "diffusion", settings={"epochs": 1, "model": SMALL | {"steps": 5}})
    (folder / "objective.toml").write_text(vasti_between(0.05, 0.95))
    networks = folder / "generator", folder / "surrogate"
    more = {"prior": folder / "prior", "diffusion": folder / "diffusion", "iterations": 2}
    return Case(folder / "objective.toml", model, *networks, count=2, **more)


@pytest.fixture
def unrehearsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rehearsals that find what was predicted, and in how many rounds of them a surrogate is refined."""
    refined = []

    def rehearsed(search, result, rounds, show, *, refine=0, physics=None):
        refined.append(refine)
        return search.generated(result)

    kept = SimpleNamespace(kept=alternatives.PROCESSES.kept, start=lambda count, ready_for: None)
    monkeypatch.setattr(alternatives, "PROCESSES", kept)
    monkeypatch.setattr(alternatives, "rehearsed", rehearsed)
    return refined


@pytest.fixture
def few_together(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(alternatives, "TOGETHER", 8)
    return 8


class Ticking:
    """Processor time that passes when someone looks."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    def tick(step: float) -> None:
        monkeypatch.setattr(alternatives, "processor_seconds", Ticking(step))

    return tick


@pytest.mark.parametrize("way", WAYS)
def test_every_way_proposes_the_motions_that_were_asked_for(
    way: str, case: Case, unrehearsed: list[int], ticking: Callable[[float], None], tmp_path: Path
):
    ticking(1.0)
    found = propose(way, case, 4.0)
    record = found.motions.record
    assert len(found.motions) == len(record["motions"]) == 2
    assert record["way"]["name"] == way
    assert record["way"]["processor_s"] == found.seconds > 0
    assert record["way"]["diversity"] > 0
    assert found.searched >= 2
    assert found.searched % 2 == 0
    for entry in record["motions"]:
        assert set(entry["predicted"]) == {PEAK, "pace"}, "every way is judged by the objective that was asked"
        assert np.isfinite(list(entry["predicted"].values())).all()
        assert entry["nearest_training_motion"]["novelty"] > 0
    assert unrehearsed == {"guided": [0], "guided, surrogate": [0], "refined": [3]}.get(way, [])
    assert found.motions.save(tmp_path / "motions").is_dir()


def test_time_buys_more_motions_to_choose_from_where_a_way_chooses(
    case: Case, ticking: Callable[[float], None], few_together: int
):
    looked_at = {}
    for seconds in (1.0, 10.0):
        for way in ("prior", "rejection", "guided diffusion"):
            ticking(1.0)
            looked_at[way, seconds] = propose(way, case, seconds).searched
    assert looked_at["prior", 1.0] == looked_at["prior", 10.0] == 2
    assert looked_at["rejection", 1.0] == few_together
    assert looked_at["rejection", 10.0] >= 2 * few_together
    assert looked_at["guided diffusion", 10.0] > looked_at["guided diffusion", 1.0] == 2


def test_a_rejection_keeps_the_best_of_what_the_prior_draws(case: Case, few_together: int):
    chosen = propose("rejection", case, 1e-6).motions.record["motions"]
    prior, search = load_prior(case.prior), case.search
    body, random = search.build.expand(few_together, -1), torch.Generator().manual_seed(case.seed)
    drawn = case.judge.result(*draw_prior(prior, search.networks.generator, body, random), case.seed)
    order = np.lexsort((drawn.loss, ~drawn.satisfied))
    np.testing.assert_allclose([e["loss"] for e in chosen], drawn.loss[np.sort(order[: case.count])], rtol=1e-4)


@pytest.mark.parametrize("physics", [False, True])
def test_motions_of_a_search_are_judged_as_the_search_judges_them(case: Case, physics: bool):
    search = case.physics if physics else case.search
    plain = replace(search.settings, manifold=0.0)  # which is about latents
    found = search.find(plain, count=3, seed=1, physics=physics)
    judge = Judge(search)
    judged = judge.result(torch.tensor(found.motions).float(), torch.tensor(found.durations).float(), 1)
    np.testing.assert_allclose(judged.motions, found.motions, atol=1e-4)
    np.testing.assert_allclose(judged.loss, found.loss, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(judged.nearest, found.nearest, rtol=1e-3)
    assert judged.satisfied.tolist() == found.satisfied.tolist()
    for name, values in found.values.items():
        np.testing.assert_allclose(judged.values[name], values, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(judged.activations, found.activations, atol=1e-3)


def test_drawn_motions_do_not_last_for_hours(case: Case):
    q, usual = case.search.references[:2], case.search.durations
    judged = case.judge.result(q, torch.tensor([1e-9, 1e9]), 0)
    np.testing.assert_allclose(judged.durations, [0.5 * usual.min(), 2.0 * usual.max()], rtol=1e-6)


def test_sets_that_are_alike_have_little_diversity(case: Case):
    references = case.search.references.numpy()
    assert case.judge.diversity(references) == pytest.approx(1.0, rel=1e-5)
    assert case.judge.diversity(np.repeat(references[:1], 3, axis=0)) == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(case.judge.diversity(references[:1]))


def test_iterations_are_as_many_as_fit(case: Case, monkeypatch: pytest.MonkeyPatch, ticking: Callable[[float], None]):
    long = replace(case, iterations=60)
    asked = []
    find = alternatives.MotionSearch.find

    def counted(self, settings, **how):
        asked.append(settings.iterations)
        short = min(settings.iterations, alternatives.PROBE)
        return find(self, replace(settings, iterations=short), **how)

    monkeypatch.setattr(alternatives.MotionSearch, "find", counted)
    ticking(1.0)
    propose("surrogate", long, 24.0)
    probe, fitted, *_ = asked
    assert probe == alternatives.PROBE
    gone = 1 + 1 + alternatives.PROBE + alternatives.STARTS
    assert 8 <= fitted <= 24 - gone, "an iteration takes a tick"


def test_the_published_losses_are_followed_with_the_terms_that_decide(case: Case):
    paper = case.paper.first
    decides = [t.name for t in paper.verdict_terms]
    assert decides == [PEAK]
    (band,) = (t for t in paper.terms if t.name == PEAK)
    assert (band.low, band.high, band.term.weight, band.scale) == (0.05, 0.95, 1.0, 0.5)
    assert [t.name for t in paper.terms if t.name != PEAK] == [
        "pelvis tilt", "asymmetry", "angular velocity", "COM velocity", "COM acceleration", "foot sliding"
    ]  # fmt: skip
    assert replace(case, iterations=None).paper.settings.iterations == 3000


def test_the_best_of_two_batches_are_kept():
    def batch(loss: list[float], met: list[bool]) -> SearchResult:
        n, none = len(loss), np.zeros(len(loss))
        return SearchResult(
            motions=np.zeros((n, 3, 1)),
            durations=none,
            activations=None,
            latents=np.array(loss)[:, None],
            channels=("knee",),
            values={},
            channel_values={},
            met={},
            satisfied=np.array(met),
            loss=np.array(loss),
            nearest=none,
            nearest_reference=np.zeros(n, dtype=int),
            usual_distance=1.0,
            usual_nearest_distance=1.0,
            plausibility={},
            limit_violations=[{}] * n,
            history={},
            conflicts=(),
            seed=0,
            settings=SearchSettings(),
        )

    best = kept_best(batch([3.0, 1.0, 2.0], [True, False, False]), batch([9.0, 0.5], [True, False]))
    assert sorted(best.loss.tolist()) == [0.5, 3.0, 9.0]
    assert best.latents[:, 0].tolist() == best.loss.tolist()
    assert best.satisfied.tolist() == [x in (3.0, 9.0) for x in best.loss]
    same = batch([1.0, 2.0], [True, True])
    assert kept_best(same, batch([5.0], [True])) is same


def test_what_a_way_lacks_is_a_sentence(case: Case, tmp_path: Path):
    with pytest.raises(SettingError, match="no way is called 'luck'; there are codes, prior"):
        propose("luck", case)
    with pytest.raises(SettingError, match="draws from diffusion: name its checkpoint"):
        propose("diffusion", replace(case, diffusion=None))
    (tmp_path / "pace.toml").write_text('name = "Pace"\n[[term]]\nquantity = "duration"\nat_least = 2.0\n')
    for way in MUSCLES_ONLY:
        with pytest.raises(SettingError, match="measures no muscles"):
            propose(way, replace(case, objective=tmp_path / "pace.toml"))


def script(name: str) -> ModuleType:
    """A file of pipelines/ as a module."""
    spec = importlib.util.spec_from_file_location(name, PIPELINES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    return script("peers")


def words_of(case: Case, out: Path) -> list[str]:
    """What makes the tables of two ways, the prior being trained already."""
    shutil.copytree(case.prior, out / "networks" / "prior-0")
    words = ["--data", str(case.model.parent / "reps.nc"), "--models", str(case.model.parent), "--out", str(out)]
    words += ["--person", f"biped={case.model}", "--objective", str(case.objective), "--ways", "prior", "rejection"]
    words += ["--generator", str(case.generator), "--surrogate", str(case.surrogate)]
    return [*words, "--seconds", "0.1", "--count", "2", "--iterations", "3"]


SIMULATED = (0.5, 0.99)


def opensim_says(place: Path, **_: object) -> list[Certificate]:
    """Certificates of two motions, of which the second misses its band by .04."""
    return [
        replace(
            Certificate.not_simulated(path.stem, ""),
            terms={PEAK: TermFound("", None, peak, "1", 0.05 <= peak <= 0.95, True)},
            labels={"status": "passed", "reason": ""},
        )
        for path, peak in zip(sorted(place.glob("*.mot")), SIMULATED, strict=True)
    ]


@pytest.fixture(scope="module")
def tables(case: Case, peers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The tables where OpenSim's word is given, and the words that made them."""
    out = tmp_path_factory.mktemp("tables") / "out"
    words = words_of(case, out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alternatives, "TOGETHER", 8)
        patch.setattr(peers, "validate", opensim_says)
        patch.setattr(peers, "evaluate", lambda *_, **__: None)
        peers.main(words)
    return out, words


def test_the_table_of_ways_says_what_the_certificates_say(tables: tuple[Path, list[str]]):
    out, _ = tables
    rows = read(out / "alternatives.csv")
    assert [row["way"] for row in rows] == ["prior", "rejection"]
    assert [int(row["searched"]) for row in rows] == [2, 8]
    for row in rows:
        assert [int(row[name]) for name in ("proposed", "confirmed", "terms_met")] == [2, 1, 1]
        assert float(row["share"]) == 0.5
        assert float(row["median_violation"]) == pytest.approx(0.02)
        assert float(row["largest_violation"]) == pytest.approx(0.04)
        assert float(row["per_minute"]) == pytest.approx(60.0 / float(row["seconds"]))
    assert (out / "alternatives.png").read_bytes().startswith(b"\x89PNG")
    assert "prior & " in (out / "alternatives.tex").read_text()


@pytest.mark.slow  # its twin is the one before
def test_the_table_of_ways_says_what_opensim_found(case: Case, peers: ModuleType, tmp_path: Path):
    with pytest.MonkeyPatch.context() as patch, alternatives.PROCESSES.kept():
        patch.setattr(peers, "evaluate", partial(evaluate, replicates=3))
        peers.main(words_of(case, tmp_path / "out"))
    for row in read(tmp_path / "out" / "alternatives.csv"):
        summary = read(tmp_path / "out" / "motions" / f"biped-objective-0-{row['way']}" / "summary.csv")
        assert len(summary) == int(row["proposed"]) == 2
        assert sum(line["confirmed"] == "True" for line in summary) == int(row["confirmed"])
        misses = [max(0.05 - x, x - 0.95, 0.0) for line in summary for x in [float(line[f"{PEAK} simulated"])]]
        assert float(row["median_violation"]) == pytest.approx(np.median(misses), abs=1e-3)
        assert float(row["largest_violation"]) == pytest.approx(max(misses), abs=1e-3)
    sets = {row["set"] for row in read(tmp_path / "out" / "tables" / "evaluation.csv")}
    assert {"code prior", "rejection", "noise, matched moments", "recordings, held out"} <= sets


def test_the_surrogates_table_is_beside_the_mean_curve(tables: tuple[Path, list[str]], peers: ModuleType, case: Case):
    out, _ = tables
    rows = read(out / "surrogate.csv")
    assert [(row["person"], row["muscle"]) for row in rows] == [("f", "vasmed"), ("g", "vasmed")]
    for row in rows:  # all people of this dataset have the same activations: nothing beats their mean
        assert float(row["r2_mean_curve"]) == pytest.approx(1.0)
        assert float(row["rmse"]) > float(row["rmse_mean_curve"]) == pytest.approx(0.0, abs=1e-9)
        assert float(row["peak"]) == pytest.approx(0.4)
    assert (out / "surrogate.tex").read_text().count("$^\\dagger$,") == 2


def test_finished_rows_are_not_made_again(
    tables: tuple[Path, list[str]], peers: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    out, words = tables
    before = {path: path.read_bytes() for path in out.rglob("*.csv") if path.parent == out}

    def never(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    for name in ("propose", "validate", "train_prior", "train_diffusion"):
        monkeypatch.setattr(peers, name, never)
    monkeypatch.setattr(peers, "evaluate", lambda *_, **__: None)
    peers.main(words)
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(OtherRowError, match="count was 2, now 3"):
        peers.main([*words, "--count", "3"])


@pytest.mark.slow  # its twin is the one on rank correlations
def test_bands_are_followed_as_certificates_say(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bands = script("bands")
    monkeypatch.setattr(bands.bige, "generate", partial(generate, rehearsals=0))
    words = ["--model", f"biped={case.model}", "--objective", str(case.objective), "--bands", "0.1-0.2", "0.4-0.5"]
    words += ["--generator", str(case.generator), "--surrogate", str(case.surrogate), "--out", str(tmp_path / "bands")]
    with alternatives.PROCESSES.kept():
        bands.main([*words, "--count", "1", "--iterations", "3"])
    rows = read(tmp_path / "bands" / "bands.csv")
    assert [(row["low"], row["asked"]) for row in rows] == [("0.1", "0.15"), ("0.4", "0.45")]
    for row in rows:
        low, high = row["low"], row["high"]
        (line,) = read(tmp_path / "bands" / "motions" / f"biped-{low}-{high}" / "summary.csv")
        found = float(line[f"{PEAK} simulated"])
        assert float(row["simulated"]) == pytest.approx(found, rel=1e-3)
        assert float(row["violation"]) == pytest.approx(max(float(low) - found, found - float(high), 0.0), abs=1e-3)
        assert row["confirmed"] == line["confirmed"]
    (summary,) = read(tmp_path / "bands" / "summary.csv")
    assert float(summary["spearman at most"]) == pytest.approx(1.0)
    assert float(summary["median violation"]) == pytest.approx(np.median([float(row["violation"]) for row in rows]))
    assert (tmp_path / "bands" / "bands.png").read_bytes().startswith(b"\x89PNG")


def test_rank_correlations_are_beside_the_largest_that_ties_allow():
    correlation = script("bands").correlation
    asked = np.repeat([0.2, 0.3, 0.4, 0.5], 5)
    follows, most = correlation(asked, np.linspace(0.15, 0.55, 20))
    n, bands = 20, 4
    assert follows == most == pytest.approx(np.sqrt(1 - ((n / bands) ** 2 - 1) / (n**2 - 1)))
    assert correlation(asked, np.linspace(0.55, 0.15, 20))[0] == pytest.approx(-most)
    assert correlation(np.arange(4.0), np.array([3.0, 1.0, 2.0, 4.0])) == (pytest.approx(0.4), pytest.approx(1.0))
