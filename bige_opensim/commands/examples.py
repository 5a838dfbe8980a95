"""An example for the help of every command: lines that a reader can paste."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "info": ("bige info", "bige info --json -"),
    "doctor": ("bige doctor OpenCapData_a", "bige doctor squat.mot --model scaled.osim --fix repaired"),
    "scale": ("bige scale osim_models/fullbody80.osim --out scaled.osim --height 1.75 --mass 70",),
    "synth": ("bige synth --subjects 4 --out people",),
    "import ui-prmd": ("bige import ui-prmd RAW --model osim_models/fullbody80.osim --out sessions",),
    "ik": ("bige ik OpenCapData_a --out sessions",),
    "label": (
        "bige label OpenCapData_a OpenCapData_b --out labels --solver fast --jobs 2",
        "bige label --model scaled.osim --motion squat.mot --out labels/squat",
    ),
    "solve": ("bige solve setup.xml --out results",),
    "compare": ("bige compare labels/walk --emg emg.sto --out comparison",),
    "norms": ("bige norms labels --out norms.json", "bige norms labels --sessions OpenCapData --out norms.csv"),
    "dataset": ("bige dataset labels --out reps.nc",),
    "train surrogate": ("bige train surrogate --data reps.nc --out runs/surrogate",),
    "train generator": (
        "bige train generator --data reps.nc --out runs/generator",
        "bige train generator --data reps.nc --out runs/generator --start built-in",
    ),
    "train prior": ("bige train prior --data reps.nc --generator runs/generator --out runs/prior",),
    "train diffusion": ("bige train diffusion --data reps.nc --out runs/diffusion",),
    "draw": ("bige draw runs/diffusion --data reps.nc --count 40 --out drawn.nc",),
    "objective list": ("bige objective list",),
    "objective check": ("bige objective check deep_squat", "bige objective check mine.toml --model scaled.osim"),
    "generate": (
        "bige generate --objective deep_squat --model scaled.osim --generator runs/generator "
        "--surrogate runs/surrogate -n 8 --out motions",
    ),
    "validate": ("bige validate motions --jobs 2", "bige validate motions --json verdicts.json"),
    "predict": ("bige predict --model scaled.osim --motion squat.mot --out predicted",),
    "edit": ("bige edit squat.mot --model scaled.osim --objective symmetric_retraining --out edited",),
    "evaluate": ("bige evaluate --reference reps.nc guided=motions --out tables",),
    "serve": ("bige serve", "bige serve --folder lab --port 8090 --no-open"),
    "report": ("bige report motions", "bige report motions --norms norms.json --out report.html"),
    "view": ("bige view labels/OpenCapData_a/squats1", "bige view motions --html motions.html"),
    "export": ("bige export labels/OpenCapData_a --format csv --out tables", "bige export motions --format opensim"),
    "run": ("bige run pipelines/squat.toml --out squats --data OpenCapData",),
    "demo": ("bige demo --out bige_demo",),
}
"""By the words that call a command."""
