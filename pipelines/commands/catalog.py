"""All commands, in the order of the help."""

from pathlib import Path

from driveforge.pipelines.commands.clips import CLIP_COMMANDS
from driveforge.pipelines.commands.command import Command
from driveforge.pipelines.commands.models import MODEL_COMMANDS

_PIPELINE = ("data", "replay", "model", "finetune", "generate", "validate", "export", "executor", "tracking")

COMMANDS = (
    Command(
        name="demo",
        module="driveforge.pipelines.run.demo",
        run_dir="create",
        summary="run the whole pipeline on a small simulated data set",
        description=(
            "Simulates a small data set, fine-tunes the shipped model on it with replay, generates clips on two Ray "
            "workers, measures and gates them, exports the accepted clips, and logs rejected clips to MLflow. "
            "Takes about 8 minutes on two cores. A second call resumes where the first one stopped."
        ),
        examples=("driveforge demo", "driveforge demo run_dir=/data/demo generate.num_clips=48"),
        sections=("simulate", *_PIPELINE),
        presets=("run_dir=runs/demo", "executor=ray", "simulate=demo", "finetune=full", "finetune.steps=100"),
    ),
    Command(
        name="show",
        module="driveforge.pipelines.config.show",
        run_dir="read",
        summary="show every setting and where it came from",
        description=(
            "Prints the settings that a command with the same run_dir, --config and KEY=VALUE would use, each with its "
            "origin: a file of conf/ (and who chose it), the run's settings.yaml, a file of --config, or the command "
            "line. PREFIX shows one section or setting. Changes nothing."
        ),
        examples=(
            "driveforge show run_dir=runs/demo",
            "driveforge show generate.sampler run_dir=runs/demo",
            "driveforge show finetune finetune=full --json",
        ),
        usage=" [PREFIX] [--json]",
        arguments=(
            (("prefix",), {"metavar": "PREFIX", "nargs": "?", "help": "a section or setting; default: all"}),
            (("--json",), {"action": "store_true", "help": "print JSON: value and origin by key"}),
        ),
    ),
    Command(
        name="sweep",
        module="driveforge.pipelines.config.sweep",
        summary="run a command once for each combination of settings",
        description=(
            "Several values of a setting are separated by commas, outside of brackets. Each combination runs in a run "
            "folder of its own, <run_dir>/sweep/NNN-VALUES, which starts from the settings of <run_dir>, if there is a "
            "run. Prints a table, and writes it to <run_dir>/sweep/summary.json. Finished combinations are kept, so "
            "the same call resumes, and one with more values adds to them.\n\n"
            "Exit status 2 if a combination failed, 1 if one has a negative result."
        ),
        examples=(
            "driveforge sweep plan generate.balance=[],[speed],[speed,turn-rate] run_dir=runs/plans",
            "driveforge sweep generate generate.sampler.num_steps=2,4,8 model.checkpoint=champion",
            "driveforge sweep run finetune=lora,full replay.share=0.1,0.25 run_dir=runs/shares",
        ),
        usage=" COMMAND",
        arguments=((("swept",), {"metavar": "COMMAND", "nargs": "+", "help": "the command, with its own arguments"}),),
        reads_overrides=True,
    ),
    *MODEL_COMMANDS,
    *CLIP_COMMANDS,
    Command(
        name="run",
        module="driveforge.pipelines.run.command",
        run_dir="create",
        summary="run the whole pipeline, from driving data to shards",
        description=(
            "Fine-tunes, generates, calibrates, gates, reviews and exports, in this order. An interrupted run resumes."
        ),
        examples=(
            "driveforge run data=nuscenes data.root=DIR data.version=v1.0-mini replay.root=FOOTAGE",
            "driveforge run data=nuscenes data.root=DIR executor=ray executor.address=auto",
        ),
        sections=_PIPELINE,
    ),
    Command(
        name="report",
        module="driveforge.pipelines.report.command",
        run_dir="read",
        summary="show which conditions pass at what cost, or which reasons each model is rejected for",
        description=(
            "yield: the accepted share of clips by edit, weather, speed, turn rate, distance of the nearest object, "
            "attempt and model, as a Beta-Bernoulli posterior, with seconds per accepted clip. Writes yield.parquet, "
            "yield.png and yield.html, a row for every clip in outcomes.parquet, and yield-edits.yaml: settings with "
            "which `driveforge plan --config` spends more on the edits that pass.\n\n"
            "ledger: how often each model is rejected for each reason, by condition, and since which model. Writes "
            "ledger.parquet, ledger.png and ledger.html."
        ),
        examples=(
            "driveforge report yield",
            "driveforge report yield runs/monday runs/tuesday --out reports",
            "driveforge report ledger runs/monday runs/tuesday --out reports",
        ),
        usage=" {yield,ledger} [RUN ...] [--out DIR]",
        arguments=(
            (("kind",), {"choices": ("yield", "ledger"), "help": "what to report"}),
            (("runs",), {"type": Path, "metavar": "RUN", "nargs": "*", "help": "run folders; default: run_dir"}),
            (("--out",), {"type": Path, "metavar": "DIR", "help": "folder of the report; default: the first run"}),
        ),
    ),
    Command(
        name="nightly",
        module="driveforge.pipelines.nightly.command",
        summary="one pass for cron: train on new data, promote or refuse, generate, export, report",
        description=(
            "Takes one pass over the folder of nights, run_dir, and is called again every night. A pass continues the "
            "night that was interrupted. Otherwise it looks for training clips that no finished night had, by their "
            "content, and begins a night in <run_dir>/<date>: it fine-tunes the champion (model.checkpoint if there is "
            "none), evaluates the champion, the base and the candidate on held-out clips of the data and of the "
            "replay domains, registers the candidate, promotes or refuses it, generates clips with the champion, gates "
            "and exports them, and writes report.md and report.json.\n\n"
            "Exit status 0: promoted, and clips exported; 1: a stage failed; 2: a wrong setting or input; 3: the model "
            "was refused; 4: no new data; 5: another pass is running; 6: the time budget is used up; 7: promoted, but "
            "no clip was accepted. After 1, 2 and 6, and after a signal (130, 143), the next pass continues the night. "
            "The environment variable DRIVEFORGE_WEBHOOK sets nightly.webhook."
        ),
        examples=(
            "driveforge nightly data=nuscenes data.root=/data/nuscenes run_dir=/data/nights",
            "driveforge nightly data=nuscenes data.root=/data/nuscenes nightly.hours=6 --json",
        ),
        sections=(*_PIPELINE, "evaluate", "promote", "nightly"),
        presets=("run_dir=runs/nightly", "evaluate.domains=[]", "evaluate.clips_per_domain=24"),
        usage=" [--json] [--force]",
        arguments=(
            (("--json",), {"action": "store_true", "help": "print one JSON object, and everything else to stderr"}),
            (("--force",), {"action": "store_true", "help": "begin a night also without new data"}),
        ),
    ),
    Command(
        name="ui",
        module="driveforge.pipelines.tracking.ui",
        run_dir="read",
        summary="show runs and rejected clips in MLflow, on this machine only",
        description="Serves the MLflow store on the loopback address until it is interrupted.",
        examples=("driveforge ui", "driveforge ui --port 5001 run_dir=runs/mini"),
        sections=("tracking",),
        usage=" [--port N]",
        arguments=((("--port",), {"type": int, "default": 5000, "metavar": "N", "help": "default: 5000"}),),
    ),
)
