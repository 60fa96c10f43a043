"""The commands that generate, measure, validate and pack clips."""

from pathlib import Path

from driveforge.pipelines.commands.command import Command

CLIP_COMMANDS = (
    Command(
        name="plan",
        module="driveforge.pipelines.generate.plan.command",
        run_dir="create",
        summary="show which clips would be generated, before anything is spent",
        description=(
            "Writes the plan to <run_dir>/candidates/plan.jsonl: units of clips, from scenes x edits x seeds. Prints "
            "the clips by edit and split, and the speeds, turn rates and numbers of agents of their scenes, and draws "
            "<run_dir>/plan.png with one scene per edit from above. The same scenes, model and settings give the same "
            "plan, whose hash is printed. generate continues it.\n\n"
            "Scenes that are near-duplicates of another, or show frames of an evaluation split, are left out "
            "(generate.screen_scenes). A plan can be replaced until a unit of it is committed."
        ),
        examples=(
            "driveforge plan run_dir=runs/first generate.num_clips=200",
            "driveforge plan 'generate.edits=[as-recorded, dusk, {edit: slow, factor: [0.4, 0.7]}]'",
            "driveforge plan generate.balance=[speed,turn-rate] generate.source_split=train",
        ),
        sections=("data", "model", "generate"),
    ),
    Command(
        name="generate",
        module="driveforge.pipelines.generate.command",
        run_dir="create",
        summary="generate candidate clips and measure them",
        description=(
            "Commits candidates and their measures to <run_dir>/candidates, unit by unit. Units that are already "
            "committed are not generated again."
        ),
        examples=(
            "driveforge generate",
            "driveforge generate executor=ray executor.workers=4 generate.num_clips=200",
            "driveforge generate model.generator=my_model:MyModel run_dir=runs/mine",
            "driveforge generate data=clipgt data.root=DIR generate.num_first_frames=0",
        ),
        sections=("data", "model", "generate", "validate", "executor", "tracking"),
    ),
    Command(
        name="measure",
        module="driveforge.pipelines.validate.measure",
        summary="measure any clips; needs no model",
        description=(
            "PATH is a folder of videos with scene.json files, a folder of shards, or a nuScenes root; its kind is "
            "detected, or given by data=KIND. Writes a parquet table. With --pictures, also writes a picture of every "
            "clip with its worst frames, a timeline and its outliers. With validate.calibration=FILE, the pictures "
            "show which limits were exceeded."
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
            (
                ("--out",),
                {"type": Path, "metavar": "FILE", "help": "output table; default: <run_dir>/measures.parquet"},
            ),
            (
                ("--pictures",),
                {"type": Path, "metavar": "DIR", "help": "write a picture of every clip, DIR/<clip id>.png"},
            ),
        ),
    ),
    Command(
        name="view",
        module="driveforge.pipelines.review.view",
        summary="draw boxes, point tracks and headings into clips",
        description=(
            "PATH is anything that measure reads. Writes a video of every camera, DIR/<clip id>.<camera>.mp4, with the "
            "commanded boxes, point tracks from green to red by their residual to the command, and the commanded (+) "
            "and observed (x) heading; and a contact sheet, DIR/<clip id>.png."
        ),
        examples=("driveforge view runs/demo/shards --out seen", "driveforge view footage/ --out seen"),
        sections=("data", "validate"),
        usage=" PATH --out DIR",
        arguments=(
            (("path",), {"type": Path, "metavar": "PATH", "help": "clips to draw"}),
            (("--out",), {"type": Path, "required": True, "metavar": "DIR", "help": "folder for videos and sheets"}),
        ),
    ),
    Command(
        name="judge",
        module="driveforge.pipelines.validate.judge",
        summary="accept or reject clips of any origin, with reasons",
        description=(
            "PATH is anything that measure reads, made by any generator. validate.calibration=FILE holds the limits. "
            "Prints a table of verdicts, each with its score, the largest accepted score, and the reasons. With --out, "
            "also writes DIR/verdicts.parquet and DIR/measures.parquet.\n\n"
            "Exit status 0 if every clip is accepted; 1 if a clip is rejected, unmeasured (its command could not be "
            "checked) or cannot be read, or a picture cannot be written; 2 after a wrong command."
        ),
        examples=(
            "driveforge judge clips/ validate.calibration=runs/demo/calibration.json",
            "driveforge judge clips/ validate.calibration=FILE --json",
            "driveforge judge /data/nuscenes data.cameras=[CAM_BACK] validate.calibration=FILE --out judged",
            "driveforge judge renders/ data=video validate.calibration=FILE --pictures pictures",
        ),
        sections=("data", "validate"),
        usage=" PATH [--json] [--out DIR] [--pictures DIR]",
        arguments=(
            (("path",), {"type": Path, "metavar": "PATH", "help": "clips to judge"}),
            (("--json",), {"action": "store_true", "help": "print verdicts as JSON, and everything else to stderr"}),
            (("--out",), {"type": Path, "metavar": "DIR", "help": "folder for tables of all verdicts and measures"}),
            (
                ("--pictures",),
                {"type": Path, "metavar": "DIR", "help": "write a picture of every clip, DIR/<clip id>.png"},
            ),
        ),
    ),
    Command(
        name="corrupt",
        module="driveforge.pipelines.validate.corrupt",
        summary="apply a controlled corruption to clips, to test the gate",
        description=(
            "CLIP is anything that measure reads. Writes every clip, corrupted by TYPE, to DIR as a clip folder. "
            "--type list prints all types, with the unit of their strength and their requirements. The seed "
            "determines position, time and sign of the corruption; the same seed gives the same bytes. Exit status 1 "
            "if a clip cannot be corrupted that way."
        ),
        examples=(
            "driveforge corrupt --type list",
            "driveforge corrupt clips/scene-1 --type yaw-rate --strength 3 --out corrupted",
            "driveforge corrupt footage/ --type cut --other clips/scene-2 --seed 1 --out corrupted",
        ),
        usage=" CLIP --type TYPE --out DIR [OPTIONS]",
        arguments=(
            (("clip",), {"type": Path, "metavar": "CLIP", "nargs": "?", "help": "clips to corrupt"}),
            (("--type",), {"required": True, "metavar": "TYPE", "help": "corruption type; list: print all types"}),
            (("--out",), {"type": Path, "metavar": "DIR", "help": "output folder"}),
            (
                ("--strength",),
                {"type": float, "metavar": "X", "help": "in the unit of the type; default: a strong corruption"},
            ),
            (("--seed",), {"type": int, "default": 0, "metavar": "N", "help": "default: 0"}),
            (("--other",), {"type": Path, "metavar": "CLIP", "help": "a clip from another place, for --type cut"}),
        ),
    ),
    Command(
        name="calibrate",
        module="driveforge.pipelines.validate.calibrate",
        run_dir="create",
        summary="calibrate the limits of the gate on known-good clips",
        description=(
            "Measures known-good clips after a pass through the model's VAE, so that compression does not count as "
            "an error. Writes <run_dir>/calibration.json and a picture of the limits, with the share of corrupted "
            "clips that they catch.\n\n"
            "--from-review proposes other limits from the decisions of reviewers: the strictest ones that reject at "
            "most validate.false_reject_rate of the clips that they accept. It measures nothing and shows what would "
            "change; only with --apply, it replaces <run_dir>/calibration.json."
        ),
        examples=(
            "driveforge calibrate",
            "driveforge calibrate validate.false_reject_rate=0.02",
            "driveforge calibrate --from-review",
            "driveforge calibrate --from-review --apply validate.false_reject_rate=0.1",
        ),
        sections=("data", "model", "validate", "tracking"),
        usage=" [--from-review [--apply]]",
        arguments=(
            (("--from-review",), {"action": "store_true", "help": "propose limits from reviewers' decisions"}),
            (("--apply",), {"action": "store_true", "help": "with --from-review: write the proposed limits"}),
        ),
    ),
    Command(
        name="tune",
        module="driveforge.pipelines.generate.tune.command",
        run_dir="existing",
        summary="choose sampler settings by accepted share and seconds per clip",
        description=(
            "Generates the same clips with every setting of the grid tune.num_steps x tune.strength x "
            "tune.guidance_scale and with the current one, judges them by the run's calibration, and times generation "
            "on one local worker. Writes a table, a picture of accepted share against seconds per clip, and contact "
            "sheets to <run_dir>/tune, and prints the recommended setting. Finished clips are kept, so an "
            "interrupted search resumes, and one with more clips or another grid adds to them.\n\n"
            "sampler is for clips with a first frame, sampler_without_frame for clips without one, for example after "
            "a change of weather."
        ),
        examples=(
            "driveforge tune sampler",
            "driveforge tune sampler tune.num_steps=[1,2,4] tune.strength=[0.4,0.5,0.6] tune.num_clips=48",
            "driveforge tune sampler_without_frame generate.edits=[dusk,rain]",
        ),
        sections=("data", "model", "generate", "tune", "validate", "tracking"),
        usage=" {sampler,sampler_without_frame}",
        arguments=((("what",), {"choices": ("sampler", "sampler_without_frame"), "help": "settings to choose"}),),
    ),
    Command(
        name="gate",
        module="driveforge.pipelines.validate.gate",
        run_dir="existing",
        summary="accept or reject every candidate, with reasons",
        description=(
            "Writes <run_dir>/verdicts.parquet and a copy of the review to <run_dir>/review. Is fast: run it again "
            "after a new calibration, or after decisions of reviewers. Prints the precision and the miss rate of the "
            "gate if reviewers have judged clips of the blind audit."
        ),
        examples=("driveforge gate", "driveforge gate validate.calibration=other.json"),
        sections=("validate", "tracking"),
    ),
    Command(
        name="review",
        module="driveforge.pipelines.review.command",
        run_dir="read",
        summary="watch every clip, see why it was rejected, and decide",
        description=(
            "Serves a page with all clips of the run on the loopback address, until it is interrupted: filter and "
            "search, play frame by frame with tracks, boxes and epipoles, compare with the source clip, and accept or "
            "reject by key. Open the address that it prints; requests without its token are refused. Decisions are "
            "added to <run_dir>/decisions.jsonl; `driveforge gate`, or a button of the page, applies them.\n\n"
            "With --out, writes a read-only copy of the page to DIR instead, which opens from index.html."
        ),
        examples=(
            "driveforge review runs/demo",
            "driveforge review runs/demo --port 8400",
            "driveforge review runs/demo --out review-of-demo --sheets",
        ),
        sections=("data", "validate", "tracking"),
        usage=" [RUN] [--port N] [--out DIR [--sheets]]",
        arguments=(
            (("folder",), {"type": Path, "metavar": "RUN", "nargs": "?", "help": "the run folder; default: run_dir"}),
            (("--port",), {"type": int, "default": 8350, "metavar": "N", "help": "default: 8350; 0: any free port"}),
            (("--out",), {"type": Path, "metavar": "DIR", "help": "write a static copy; a new folder, or a copy"}),
            (("--sheets",), {"action": "store_true", "help": "with --out: also the measured sheet of every clip"}),
        ),
    ),
    Command(
        name="export",
        module="driveforge.pipelines.export.command",
        run_dir="existing",
        summary="write the accepted clips as WebDataset shards, or in another format",
        description=(
            "Writes <run_dir>/shards with index.json, Croissant metadata and a data card. With "
            "export.format=nuscenes, writes <run_dir>/nuscenes: tables that nuscenes-devkit opens, with key frames at "
            "2 Hz, sweeps, boxes, and splits.json; a clip is in the split of its recording. Clips without ego pose or "
            "calibration are left out, with a message. export.merge=ROOT adds the scenes of a real nuScenes root, "
            "whose files are linked; nothing is written to ROOT. An earlier export is replaced.\n\n"
            "export.format=clipgt writes NVIDIA's world-scenario parquet to <run_dir>/clipgt, export.format=lerobot a "
            "LeRobot v3.0 data set to <run_dir>/lerobot."
        ),
        examples=(
            "driveforge export",
            "driveforge export export.clips_per_shard=256",
            "driveforge export export.format=nuscenes export.license=CC-BY-4.0",
            "driveforge export export.format=nuscenes export.merge=/data/nuscenes",
            "driveforge export export.format=clipgt",
            "driveforge export export.format=lerobot",
        ),
        sections=("export", "tracking"),
    ),
    Command(
        name="gc",
        module="driveforge.pipelines.generate.gc",
        run_dir="existing",
        summary="list or remove files of a run that nothing refers to",
        description=(
            "Lists tars that no commit names, first frames that no plan names, records of units that are committed "
            "now, and temporary files of killed processes, each with its size and the reason. Removes them only with "
            "--delete, and never a file whose name is not one of driveforge's. Waits while another command writes in "
            "the run folder. In an object store, considers only objects that are older than --older-than."
        ),
        examples=("driveforge gc", "driveforge gc --delete", "driveforge gc --delete --older-than 48"),
        usage=" [--delete] [--older-than HOURS]",
        arguments=(
            (("--delete",), {"action": "store_true", "help": "remove what is listed"}),
            (
                ("--older-than",),
                {"type": float, "metavar": "HOURS", "default": 24.0, "help": "in an object store; default: 24"},
            ),
        ),
    ),
    Command(
        name="verify",
        module="driveforge.pipelines.export.verify",
        run_dir="read",
        summary="check every byte of exported shards",
        description=(
            "DIR is a folder that export wrote, on a disk or in an object store. Exit status 1 if anything is wrong."
        ),
        examples=("driveforge verify", "driveforge verify /data/shards", "driveforge verify s3://bucket/run/shards"),
        usage=" [DIR]",
        arguments=(
            (
                ("directory",),
                {"metavar": "DIR", "nargs": "?", "help": "shards to check; default: <run_dir>/shards"},
            ),
        ),
    ),
)
