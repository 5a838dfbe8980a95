"""card.md: what a network was trained on, how well it does on whom, and where it should not be used."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from bige_opensim.learning.intervals import COVERAGE, coverage
from bige_opensim.learning.surrogate import Surrogate
from bige_opensim.learning.training_data import HELD_OUT, Repetitions, spread_over
from bige_opensim.learning.vqvae import Generator

MAIN_MUSCLES = (
    "vasmed", "vaslat", "vasint", "recfem", "glmax1", "glmax2", "glmax3", "glmed1", "bflh", "semimem", "addmagIsch",
    "gasmed", "gaslat", "soleus", "tibant", "psoas",
)  # fmt: skip
"""Reported one by one, left and right together, where a model has them."""

SURROGATE_NAMES = {
    "rmse": "RMSE",
    "mae": "mean absolute error",
    "peak_mae": "mean absolute error of the peaks",
}
GENERATOR_NAMES = {
    "rmse_deg": "RMSE of angles (degrees)",
    "rmse_legs_deg": "RMSE of the angles of legs and trunk (degrees)",
    "rmse_mm": "RMSE of translations (mm)",
    "duration_mae_s": "mean absolute error of the duration (s)",
    "codes_used": "share of the first codebook in use",
}
ROLES = {"fit": "trained on", "validation": "validation", "test": "test"}

MOST_MEASURED = 2000
"""Repetitions of a role that are measured."""

Measure = Callable[[Tensor], dict[str, float]]


def surrogate_card(
    model: Surrogate, data: Repetitions, settings: dict[str, Any], provenance: dict[str, Any], measure: Measure
) -> str:
    """The surrogate's card, with the error per main muscle."""
    lines = ["# Surrogate: kinematics to muscle activations", ""]
    inputs = f"{len(data.coordinates)} coordinates with their speeds and accelerations"
    if model.channels.loads:
        inputs = "Postures of legs and trunk, what the joints carry, what the muscles can do about it"
    lines += [
        f"{inputs}, and {len(data.feature_names)} subject features ({', '.join(data.feature_names)}), to the "
        f"activations of {len(data.muscles)} muscles.",
        "",
    ]
    if model.channels.loads:
        lines += [
            "It starts from what joints carry with the ground force shared plainly between the feet, by inverse "
            "dynamics of the person's own skeleton, and predicts how the feet share it, in two steps, the second told "
            "what the first would cost each leg; the person's own muscles then share what is left to the joints by "
            "least effort. It needs the person's model.",
            "",
        ]
    lines += _data(data) + _metrics(data, measure, SURROGATE_NAMES) + _per_muscle(model, data)
    lines += _intervals(model, data)
    lines += [
        "## Limits",
        "",
        "Activations are predicted, not simulated: re-simulate what matters. The labels are static optimization's, "
        "with its assumptions (least sum of squared activations, no antagonists without need, rigid tendons): "
        "estimates, not measurements. Motions and bodies unlike those above are flagged as outside; movements that "
        "look like them and are loaded otherwise, by a bar or a chair, are not.",
        "",
    ]
    return "\n".join(lines + _how(settings, provenance))


def generator_card(
    model: Generator, data: Repetitions, settings: dict[str, Any], provenance: dict[str, Any], measure: Measure
) -> str:
    """The generator's card."""
    tokens, width = model.latent_shape
    config = model.config
    lines = ["# Generator: motions to codes and back", ""]
    lines += [
        f"{len(data.coordinates)} coordinates and the duration of a repetition ({config.samples} samples), to "
        f"{tokens} tokens of {width} numbers, quantised in {config.stages} stages of {config.codes} codes.",
        "",
    ]
    lines += _data(data) + _metrics(data, measure, GENERATOR_NAMES)
    lines += [
        "## Limits",
        "",
        "Motions are kinematics: nothing here knows forces, contact or muscles. Decoded motions hold at most 12.5 "
        "cycles per repetition, so impacts are smoothed away. Bodies and movements unlike those above are "
        "reconstructed badly: compare the errors on validation and test subjects with those on the ones trained on.",
        "",
    ]
    return "\n".join(lines + _how(settings, provenance))


def peer_card(
    title: str,
    model: Module,
    data: Repetitions,
    settings: dict[str, Any],
    provenance: dict[str, Any],
    measure: Measure,
) -> str:
    """The card of a peer, which draws motions without a search."""
    lines = [f"# {title}", "", f"{sum(p.numel() for p in model.parameters())} weights.", ""]
    lines += _data(data) + _metrics(data, measure, {"score": "loss"})
    lines += ["## Limits", "", "Drawn motions are kinematics: nothing here knows forces, contact or muscles.", ""]
    return "\n".join(lines + _how(settings, provenance))


def _data(data: Repetitions) -> list[str]:
    lines = ["## Data", "", "| | repetitions | subjects |", "|---|---|---|"]
    for role, title in ROLES.items():
        names = data.subjects_of(role)
        count = len(data.rows[role]) - (data.rehearsed if role == "fit" else 0)
        lines.append(f"| {title} | {count} | {len(names)}: {', '.join(names) or 'none'} |")
    if data.streamed:
        kept = len(data.rows["calibration"])
        lines += [
            "",
            f"Trained on besides: {data.streamed - kept} streamed motions, those of the training subjects varied, "
            "planted on many bodies and labelled by the physics; on bodies that were not trained on, "
            f"{kept} more calibrated the intervals.",
        ]
    if data.rehearsed:
        lines += [
            "",
            f"Trained on besides: {data.rehearsed} repetitions that the network it went on from has learned from "
            "before, so that it does not forget other people.",
        ]
    if not data.by_subject:
        lines += [
            "",
            "**There was no validation subject.** "
            f"{HELD_OUT:.0%} of the training subjects' repetitions chose the checkpoint instead, so the validation "
            "figures below say nothing about new people.",
        ]
    if data.left_out:
        lines += ["", f"{data.left_out} repetitions were left out: no complete activations, features or model."]
    return [*lines, ""]


def _metrics(data: Repetitions, measure: Measure, names: dict[str, str]) -> list[str]:
    roles = [role for role in ROLES if len(data.rows[role])]
    measured = {role: measure(spread_over(data.rows[role], MOST_MEASURED)) for role in roles}
    lines = ["## Errors", "", f"| | {' | '.join(ROLES[role] for role in roles)} |", "|---" * (len(roles) + 1) + "|"]
    for name, title in names.items():
        lines.append(f"| {title} | {' | '.join(f'{measured[role][name]:.4f}' for role in roles)} |")
    note = "Only validation chose the checkpoint; test was measured once, afterwards."
    if len(data.rows["fit"]) > MOST_MEASURED:
        note += f" Of those trained on {MOST_MEASURED} were measured, evenly among them."
    return [*lines, "", note, ""]


def _intervals(model: Surrogate, data: Repetitions) -> list[str]:
    """Share of the activations of every role that their intervals hold."""
    roles = [role for role in ("validation", "test") if len(data.rows[role])]
    lines = ["## Intervals", "", "| | people | share of activations inside the 90 % interval |", "|---|---|---|"]
    for role in roles:
        rows = data.rows[role]
        predicted = _predicted(model, data, rows)
        share = coverage(predicted, data.activations[rows], model.interval)
        lines.append(f"| {ROLES[role]} | {len(data.subjects_of(role))} | {float(share.mean()):.1%} |")
    few = len(data.subjects_of("validation")) < 1 / (1 - COVERAGE) - 1
    note = "The intervals were sized on the validation people."
    if few:
        note += " They are fewer than nine: coverage on new people is an estimate, not a guarantee."
    return [*lines, "", note, ""]


def _per_muscle(model: Surrogate, data: Repetitions) -> list[str]:
    """RMSE and mean peak on the validation repetitions, sides pooled."""
    rows = data.rows["validation"]
    target = data.activations[rows]
    predicted = _predicted(model, data, rows)
    lines = [
        "## Main muscles, validation",
        "",
        "| muscle | RMSE | mean peak | mean predicted peak |",
        "|---|---|---|---|",
    ]
    for name in MAIN_MUSCLES:
        columns = [data.muscles.index(m) for m in (f"{name}_r", f"{name}_l") if m in data.muscles]
        if columns:
            error = (predicted[..., columns] - target[..., columns]).square().mean().sqrt()
            peaks = [float(torch.amax(x[..., columns], 1).mean()) for x in (target, predicted)]
            lines.append(f"| {name} | {float(error):.4f} | {peaks[0]:.3f} | {peaks[1]:.3f} |")
    return [*lines, ""]


def _predicted(model: Surrogate, data: Repetitions, rows: Tensor) -> Tensor:
    """Activations of repetitions, told what joints carry in them."""
    return model(data.q[rows], data.duration[rows], data.features[rows], mechanics=data.mechanics(rows))


def _how(settings: dict[str, Any], provenance: dict[str, Any]) -> list[str]:
    return [
        "## Training",
        "",
        f"Seed {provenance['seed']}, {provenance['epochs']} of at most {settings['epochs']} epochs, best epoch "
        f"{provenance['best_epoch']}, {provenance['seconds']} s; left-right mirrored: "
        f"{'yes' if settings['mirror'] else 'no'}. bige_opensim {provenance['bige_opensim']}, torch "
        f"{provenance['torch']}. Data sha256 {provenance['data_sha256'][:16]}. Everything else is in config.json.",
        "",
    ]
