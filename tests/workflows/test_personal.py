"""A person's own strength and range of motion: in the model that everything is computed and judged with."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from small_models import biped
from squat_like_repetitions import MUSCLES_6, squat_like_dataset

import bige_opensim as bige
from bige_opensim.built_in import MODEL, built_in
from bige_opensim.cli import app
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import Objective
from bige_opensim.guidance.objective_text import objective_text
from bige_opensim.learning.surrogate import SurrogateConfig
from bige_opensim.learning.training import GeneratorTraining, SurrogateTraining, train_generator, train_surrogate
from bige_opensim.learning.vqvae import GeneratorConfig
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import load
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.joint_limits import joint_limits
from bige_opensim.workflows.personal import Person, PersonError, parse_person

pytestmark = pytest.mark.usefixtures("own_cache")


def forces(model: Path) -> dict[str, float]:
    read = load(model)
    muscles = read.model.getMuscles()
    return {muscles.get(i).getName(): muscles.get(i).getMaxIsometricForce() for i in range(muscles.getSize())}


def test_options_are_read_as_they_are_written():
    person = parse_person(["vas*_r=0.7", "soleus_l=1.2"], ["knee_angle_r=0..90", "lumbar_extension=-30.5..10"], [])
    assert person.strength == {"vas*_r": 0.7, "soleus_l": 1.2}
    assert person.limits == {"knee_angle_r": (0.0, 90.0), "lumbar_extension": (-30.5, 10.0)}


@pytest.mark.parametrize(
    ("strength", "limits", "message"),
    [
        (
            ["vas*_r=0"],
            [],
            "strength of vas.* must be above 0 .* got 0. A muscle that does not work at all is switched",
        ),
        (["vas*_r=-1"], [], "must be above 0"),
        (["vas*_r=nan"], [], "must be above 0"),
        (["vas*_r=70"], [], "at most 10, 1 being the model's; got 70"),
        (["vas*_r"], [], r"written as MUSCLE=FACTOR, such as vas\*_r=0.7; got 'vas\*_r'"),
        (["=0.7"], [], "written as MUSCLE=FACTOR"),
        ([], ["knee_angle_r=90"], r"written as COORDINATE=LOW..HIGH .*; got 'knee_angle_r=90'"),
        ([], ["knee_angle_r=90..0"], "must go from its lowest to its highest; got 90..0"),
    ],
)
def test_what_no_person_has_is_refused(strength: list[str], limits: list[str], message: str):
    with pytest.raises(PersonError, match=message):
        parse_person(strength, limits, [])


@pytest.mark.parametrize(
    ("person", "message"),
    [
        (Person({"vasmed_x": 0.7}), "no muscle or group of muscles fits 'vasmed_x'; did you mean 'vasmed_"),
        (Person({}, {"knee_angel_r": (0, 90)}), "no coordinate is called 'knee_angel_r'; did you mean 'knee_angle_r'"),
        (Person({}, {"knee_angle_r_beta": (0, 90)}), "knee_angle_r_beta follows others"),
        (Person({}, {"knee_angle_r": (150, 170)}), "knee_angle_r goes from 0 to .* degrees in this model, .* 150..170"),
    ],
)
def test_names_and_ranges_that_the_model_lacks_are_refused(person: Person, message: str):
    with pytest.raises(PersonError, match=message), person.model(built_in(MODEL)):
        pass


def test_the_model_of_a_person_has_their_strength_and_range_and_all_else_is_the_same():
    model, degree = built_in(MODEL), math.radians(1.0)
    person = Person({"vas*_r": 0.7, "vasmed_r": 0.5}, {"knee_angle_r": (5, 90), "hip_flexion_l": (-200, 80)})
    with person.model(model) as path:
        before, after = forces(model), forces(path)
        limits, usual = joint_limits(load(path)), joint_limits(load(model))
        skeletons = [Skeleton(compile_skeleton(p)) for p in (model, path)]
    factor = {name: after[name] / before[name] for name in before}
    changed = {"vasmed_r": 0.35, "vaslat_r": 0.7, "vasint_r": 0.7}
    assert factor == pytest.approx({name: changed.get(name, 1.0) for name in before})
    assert limits["knee_angle_r"] == pytest.approx((5 * degree, 90 * degree))
    assert limits["hip_flexion_l"] == pytest.approx((usual["hip_flexion_l"][0], 80 * degree))
    others = [n for n in usual if n not in person.limits]
    assert np.array([limits[n] for n in others]) == pytest.approx(np.array([usual[n] for n in others]))
    q = 0.1 * np.ones(len(skeletons[0].coordinates))
    pose = [s(s.default.new_tensor(q)).position for s in skeletons]
    assert pose[0].numpy() == pytest.approx(pose[1].numpy(), abs=1e-9)
    assert not path.exists()


def test_a_model_without_changes_is_the_file_itself():
    with Person().model(Path("any.osim")) as path:
        assert path == Path("any.osim")


def test_a_label_of_a_weaker_person_takes_more_activation(tmp_path: Path):
    """One muscle per direction and moments that reserves hardly share: activations rise by the inverse of strength."""
    from small_models import write_squat

    model = biped(tmp_path / "biped.osim")
    write_squat(model, tmp_path / "squat.mot")
    settings = {"solver": "fast", "geometry": "exact", "audit": 0.0}
    strong = bige.label(tmp_path / "squat.mot", model=model, **settings)
    with Person({"*": 0.8}).model(model) as path:
        weak = bige.label(tmp_path / "squat.mot", model=path, **settings)
    worked = (strong.activations > 0.1) & (strong.activations < 0.7)
    assert worked.to_numpy().sum() > 20
    ratio = (weak.activations / strong.activations).where(worked).stack()
    assert ratio.median() == pytest.approx(1 / 0.8, rel=0.03)


def test_generated_motions_carry_the_persons_model_and_say_so(tmp_path: Path):
    data = squat_like_dataset(MUSCLES_6)
    small = GeneratorConfig(width=16, latent_width=8, codes=16, stages=1)
    train_generator(data, tmp_path / "generator", GeneratorTraining(epochs=1, model=small))
    train_surrogate(data, tmp_path / "surrogate", SurrogateTraining(epochs=1, model=SurrogateConfig(16, 2, 1)))
    objective = tmp_path / "o.toml"
    asked = '[[term]]\nquantity = "coordinate"\nof = ["knee_angle_r"]\nstat = "peak"\nat_least = {}\n'
    objective.write_text(asked.format(60) + "[search]\niterations = 2\n", encoding="utf-8")
    out = tmp_path / "motions"
    words = ["generate", "--generator", tmp_path / "generator", "--surrogate", tmp_path / "surrogate", "--objective",
             objective, "--model", built_in(MODEL), "-n", "2", "--out", out,
             "--strength", "vas*_r=0.7", "--limit", "knee_angle_r=0..90"]  # fmt: skip
    words = [str(w) for w in words]
    assert app(words, result_action="return_value") == 0
    record = json.loads((out / "generation.json").read_text())
    assert record["person"]["strength"] == {"vas*_r": 0.7}
    assert record["person"]["limits"] == {"knee_angle_r": [0.0, 90.0]}
    assert any("not which muscle is weak" in note for note in record["notes"])
    assert forces(out / "model.osim")["vasmed_r"] == pytest.approx(0.7 * forces(built_in(MODEL))["vasmed_r"])
    assert joint_limits(load(out / "model.osim"))["knee_angle_r"] == pytest.approx((0.0, math.radians(90)))
    objective.write_text(asked.format(95), encoding="utf-8")
    assert app(words, result_action="return_value") == 1


def test_a_strength_of_zero_ends_the_command_before_any_file_is_read(capsys):
    words = "generate --generator g --surrogate s --objective o.toml --model m.osim --out x --strength vas*=0"
    assert app(words.split(), result_action="return_value") == 1
    assert "must be above 0" in capsys.readouterr().err


def test_a_load_is_in_the_persons_model_and_an_objective_may_declare_it(tmp_path: Path):
    model = biped(tmp_path / "biped.osim")
    person = parse_person([], [], ["60kg@pelvis"])
    assert not person.usual
    assert person.record(model)["load"] == ["60kg@pelvis"]
    with person.model(model) as path:
        assert load(path).mass_kg == pytest.approx(load(model).mass_kg)
        assert float(Skeleton(compile_skeleton(path)).weight_n) == pytest.approx(
            float(Skeleton(compile_skeleton(model)).weight_n) + 60.0 * 9.80665, rel=1e-4
        )
    terms = {"term": [{"quantity": "depth", "stat": "peak", "at_least": 0.1}]}
    asked = Objective.from_dict({"person": {"load": "60kg@pelvis"}, **terms})
    assert asked.loads == person.loads
    copy = tmp_path / "copy.toml"
    copy.write_text(objective_text(asked), encoding="utf-8")
    assert Objective.load(copy).loads == asked.loads
    for wrong, said in ({"load": "60lb@pelvis"}, "write the mass in kg"), ({"load": 60}, "a text such as"):
        with pytest.raises(ObjectiveError, match=said):
            Objective.from_dict({"person": wrong, **terms})


def test_a_load_that_cannot_be_ends_the_command_before_any_file_is_read(capsys):
    words = "generate --objective o.toml --model m.osim --out x --load 132lb@torso"
    assert app(words.split(), result_action="return_value") == 1
    assert "132 lb are 59.87kg" in capsys.readouterr().err
