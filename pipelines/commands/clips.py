"""The commands that make, measure, judge and pack clips."""

from pathlib import Path

from driveforge.pipelines.commands.command import Command

CLIP_COMMANDS = (
    Command(
        name="generate",
        module="driveforge.pipelines.generate.command",
        run_dir="create",
        summary="generate candidate clips and commit each with its measures",
        description="Units that an earlier run committed to <run_dir>/candidates are not made again.",
        examples=("driveforge generate", "driveforge generate executor=ray executor.workers=4 generate.num_clips=200"),
        sections=("data", "generate", "validate", "executor", "tracking"),
    ),
    Command(
        name="measure",
        module="driveforge.pipelines.validate.measure",
        summary="measure clips of any origin; needs no model",
        description=(
            "PATH is a folder of videos with scene.json, of shards, or a nuScenes root, told apart by what lies\n"
            "there. Writes parquet. With --pictures, every clip is also drawn: its worst frames, its time line, and\n"
            "what stands out; with validate.calibration=FILE, which of those limits it broke."
        ),
        examples=(
            "driveforge measure footage/",
            "driveforge measure /data/nuscenes data.cameras=[CAM_BACK] --out measures.parquet",
            "driveforge measure corrupted/ --pictures pictures validate.calibration=runs/demo/calibration.json",
        ),
        sections=("data", "validate"),
        usage=" PATH [--out FILE] [--pictures DIR]",
        arguments=(
            (("path",), {"type": Path, "metavar": "PATH", "help": "clips to measure"}),
            (("--out",), {"type": Path, "metavar": "FILE", "help": "default: <run_dir>/measures.parquet"}),
            (("--pictures",), {"type": Path, "metavar": "DIR", "help": "draw every clip, as DIR/<clip id>.png"}),
        ),
    ),
    Command(
        name="corrupt",
        module="driveforge.pipelines.validate.corrupt",
        summary="corrupt good clips in one known way, to find out what a measure or a gate sees",
        description=(
            "CLIP is anything that measure reads; every clip in it is written to DIR as a clip folder, corrupted by\n"
            "TYPE. --type list shows all types, with the unit of their strength and what they need of a clip. The\n"
            "seed draws what is corrupted, when, and to which side; the same seed gives the same bytes. Exit status 1\n"
            "where a clip cannot be corrupted that way."
        ),
        examples=(
            "driveforge corrupt --type list",
            "driveforge corrupt clips/scene-1 --type yaw-rate --strength 3 --out corrupted",
            "driveforge corrupt footage/ --type cut --other clips/scene-2 --seed 1 --out corrupted",
        ),
        usage=" CLIP --type TYPE --out DIR [--strength X] [--seed N] [--other CLIP]",
        arguments=(
            (("clip",), {"type": Path, "metavar": "CLIP", "nargs": "?", "help": "clips to corrupt"}),
            (("--type",), {"required": True, "metavar": "TYPE", "help": "in which way; list: show all types"}),
            (("--out",), {"type": Path, "metavar": "DIR", "help": "corrupted clips go here"}),
            (("--strength",), {"type": float, "metavar": "X", "help": "in the type's unit; default: a strong one"}),
            (("--seed",), {"type": int, "default": 0, "metavar": "N", "help": "default: 0"}),
            (("--other",), {"type": Path, "metavar": "CLIP", "help": "a clip of another place, for a cut"}),
        ),
    ),
    Command(
        name="calibrate",
        module="driveforge.pipelines.validate.calibrate",
        run_dir="create",
        summary="make the gate's limits from known-good clips",
        description="The clips of the data are seen through the model's own VAE first, so that geometry is judged.",
        examples=("driveforge calibrate", "driveforge calibrate validate.false_reject_rate=0.02"),
        sections=("data", "model", "validate", "tracking"),
    ),
    Command(
        name="gate",
        module="driveforge.pipelines.validate.gate",
        run_dir="existing",
        summary="accept or reject every candidate, with reasons",
        description=(
            "Writes <run_dir>/verdicts.parquet and <run_dir>/review. Cheap: run it again after another calibration,\n"
            "or when <run_dir>/overrides.json has changed."
        ),
        examples=("driveforge gate", "driveforge gate validate.calibration=other.json"),
        sections=("validate", "tracking"),
    ),
    Command(
        name="review",
        module="driveforge.pipelines.validate.review",
        run_dir="existing",
        summary="draw the rejected clips again, with their reasons, beside accepted ones",
        description="Writes <run_dir>/review from what the gate decided, as gate does, and logs it to MLflow.",
        examples=("driveforge review", "driveforge review run_dir=runs/demo"),
        sections=("validate", "tracking"),
    ),
    Command(
        name="export",
        module="driveforge.pipelines.export",
        run_dir="existing",
        summary="pack the accepted clips into WebDataset shards",
        description="Writes <run_dir>/shards with index.json, Croissant metadata and a data card.",
        examples=("driveforge export", "driveforge export export.clips_per_shard=256"),
        sections=("export", "tracking"),
    ),
    Command(
        name="verify",
        module="driveforge.pipelines.verify",
        run_dir="read",
        summary="check every byte of exported shards",
        description="DIR is what export wrote, <run_dir>/shards by default. Exit status 1 where anything is wrong.",
        examples=("driveforge verify", "driveforge verify /data/shards"),
        usage=" [DIR]",
        arguments=((("directory",), {"type": Path, "metavar": "DIR", "nargs": "?", "help": "shards to check"}),),
    ),
)
