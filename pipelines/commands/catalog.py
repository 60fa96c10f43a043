"""All commands, in the order of the help."""

from driveforge.pipelines.commands.clips import CLIP_COMMANDS
from driveforge.pipelines.commands.command import Command
from driveforge.pipelines.commands.models import MODEL_COMMANDS

_PIPELINE = ("data", "replay", "model", "finetune", "generate", "validate", "export", "executor", "tracking")

COMMANDS = (
    Command(
        name="demo",
        module="driveforge.pipelines.demo",
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
    *MODEL_COMMANDS,
    *CLIP_COMMANDS,
    Command(
        name="run",
        module="driveforge.pipelines.run",
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
