"""The verbs of the command line: what each is for, what it is given, and which settings it reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from pipelines.settings.build import text_of
from pipelines.settings.config import Config

Argument = tuple[tuple[str, ...], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """One verb: ``arguments`` are those of argparse, ``sections`` the parts of the configuration that it reads.

    ``presets`` are settings of its own; those on the command line come on top. ``run_dir`` says what the verb does to
    the run folder: nothing; it reads what is there; it goes on with one that is there; or it may begin one.
    """

    name: str
    summary: str
    description: str
    examples: tuple[str, ...]
    run_dir: Literal["unused", "read", "continued", "begun"] = "unused"
    sections: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    usage: str = ""
    arguments: tuple[Argument, ...] = ()


_PIPELINE = ("data", "replay", "model", "finetune", "generate", "validate", "export", "executor", "tracking")

VERBS = (
    Verb(
        name="demo",
        run_dir="begun",
        summary="run everything, small, on simulated driving: the place to start",
        description=(
            "Makes a simulated data set, fine-tunes the shipped model on it with replay, generates clips on two Ray\n"
            "workers, measures and gates them, exports what passed and logs the rest to MLflow. About 15 minutes on\n"
            "two cores; run again, it goes on where it stopped."
        ),
        examples=("driveforge demo", "driveforge demo run_dir=/data/demo generate.num_clips=48"),
        sections=("simulate", *_PIPELINE),
        presets=("run_dir=runs/demo", "executor=ray", "simulate=demo", "finetune=full", "finetune.steps=100"),
    ),
    Verb(
        name="simulate",
        summary="write the simulated world as nuScenes tables, and replay domains as video folders",
        description=(
            "DIR/nuscenes is a data root that nuscenes-devkit opens; DIR/replay holds a folder a clip, with video.mp4\n"
            "and scene.json. Deterministic by seed."
        ),
        examples=("driveforge simulate --out data/simulated", "driveforge simulate --out DIR simulate.num_scenes=2"),
        sections=("simulate",),
        usage=" --out DIR",
        arguments=((("--out",), {"type": Path, "required": True, "metavar": "DIR", "help": "a new or empty folder"}),),
    ),
    Verb(
        name="pretrain",
        summary="train the base checkpoint, from nothing or from an earlier one",
        description="Trains the VAE and the world model on diverse procedural domains. Stop it at will: it resumes.",
        examples=(
            "driveforge pretrain",
            "driveforge pretrain pretrain.out=runs/base pretrain.steps=50000",
            "driveforge pretrain pretrain.start=finetune/base pretrain.steps=1500 pretrain.seed=1001",
        ),
        sections=("data", "pretrain"),
    ),
    Verb(
        name="cache",
        run_dir="begun",
        summary="encode clips once, so that fine-tuning reads latents instead of video",
        description="Writes the latents of the driving data and of the replay domains to <run_dir>/latents.",
        examples=("driveforge cache", "driveforge cache data=nuscenes data.root=DIR data.version=v1.0-mini"),
        sections=("data", "replay", "model"),
    ),
    Verb(
        name="replay",
        summary="keep a buffer of other domains that outlasts runs: add, stats, verify, drop",
        description=(
            "The buffer is replay.buffer=DIR, by default the folder replay beside the run folders; a fine-tune uses\n"
            "it where replay.buffer is set. add: SOURCE is a folder of videos, a nuScenes root, shards, or the word\n"
            "simulated; all of it is in the buffer when the command has ended, or nothing. Domains share the capacity\n"
            "equally, or have a --quota; beyond it, chance, herding or the highest scores decide who stays. A licence\n"
            "is what --licence says, or a meta.json in the source. stats: what is there. verify: every byte by its\n"
            "hash; exit status 1 where anything is wrong. drop: all clips that match, for good."
        ),
        examples=(
            "driveforge replay add footage/other --domain handheld --licence MIT --quota 200",
            "driveforge replay add simulated --capacity 20GB replay.buffer=/data/replay",
            "driveforge replay stats --out buffer.png",
            "driveforge replay verify",
            "driveforge replay drop --licence CC-BY-NC-4.0",
        ),
        sections=("data", "replay", "model"),
        usage=" add SOURCE [--domain NAME] | stats | verify | drop [SOURCE] [--domain NAME]",
        arguments=(
            (("what",), {"choices": ("add", "stats", "verify", "drop"), "help": "what is done"}),
            (
                ("path",),
                {"type": Path, "metavar": "SOURCE", "nargs": "?", "help": "clips to add; drop: all from there"},
            ),
            (("--domain",), {"metavar": "NAME", "help": "of the clips; default: what the source says"}),
            (("--licence",), {"metavar": "NAME", "help": "of the clips; default: what meta.json says"}),
            (("--quota",), {"metavar": "ROOM", "help": "for the domain: a number of clips, or a size such as 2GB"}),
            (("--capacity",), {"metavar": "ROOM", "help": "of the buffer, likewise; default: replay.capacity clips"}),
            (("--keep",), {"choices": ("random", "herding", "loss"), "help": "who stays; of a new buffer"}),
            (("--scores",), {"type": Path, "metavar": "FILE", "help": "JSON, a number a clip id, for --keep loss"}),
            (("--out",), {"type": Path, "metavar": "FILE", "help": "stats: draw them too, as a PNG"}),
        ),
    ),
    Verb(
        name="finetune",
        run_dir="begun",
        summary="fine-tune the world model on the driving data, with replay",
        description="Resumes a run that was cut short. The result is <run_dir>/model.",
        examples=(
            "driveforge finetune replay.share=0.25",
            "driveforge finetune finetune=full data=nuscenes data.root=DIR",
            "driveforge finetune finetune.strategy=naive run_dir=runs/naive",
        ),
        sections=("data", "replay", "model", "finetune", "tracking"),
    ),
    Verb(
        name="probe",
        run_dir="begun",
        summary="measure on held-out clips what a model can do: losses, motion and looks, domain by domain",
        description=(
            "MODEL goes on from the first frames of clips that no training sees, without a command, so that all\n"
            "motion has to come from it. Every clip's losses by noise level, apart for what moves and what stands,\n"
            "the error and permanence of its objects, its camera's motion and its looks go to\n"
            "<run_dir>/probe.parquet, beside those of other models; <run_dir>/probe.png shows some of the clips.\n"
            "MODEL is a model folder, or base, champion or champion-or-base; <run_dir>/model by default. The clips\n"
            "are made and encoded once, in <run_dir>/../probe."
        ),
        examples=(
            "driveforge probe",
            "driveforge probe base probe.dynamics=false",
            "driveforge probe runs/tonight/model probe.footage=[footage/held-out]",
        ),
        sections=("data", "replay", "probe", "tracking"),
        usage=" [MODEL]",
        arguments=(
            (
                ("model",),
                {"metavar": "MODEL", "nargs": "?", "help": "a model folder, base, champion, champion-or-base"},
            ),
        ),
    ),
    Verb(
        name="promote",
        run_dir="continued",
        summary="make a fine-tuned model champion if driving improved and nothing was forgotten",
        description=(
            "Registers the model in MLflow as candidate and compares what the probe found of it with the champion,\n"
            "or with the base where there is none, clip by clip. It becomes champion only if the measure of driving\n"
            "improved, and if a fall of any measure of dynamics beyond the tolerance can be excluded in every domain,\n"
            "against the champion and against the base. Else it says which domain, which measure and by how much,\n"
            "draws it in <run_dir>/promotion.png, leaves the champion alone and ends with exit status 1.\n"
            "CANDIDATE is a model folder, <run_dir>/model by default; probe.parquet lies beside it."
        ),
        examples=("driveforge promote", "driveforge promote runs/tonight/model promote.tolerance=0.02"),
        sections=("promote", "tracking"),
        usage=" [CANDIDATE]",
        arguments=((("candidate",), {"type": Path, "metavar": "CANDIDATE", "nargs": "?", "help": "a model folder"}),),
    ),
    Verb(
        name="rollback",
        run_dir="read",
        summary="take the champion back: the one before it is champion again",
        description="The model that was taken back is not promoted again, until its tag is taken away in MLflow.",
        examples=("driveforge rollback", "driveforge rollback run_dir=runs/tonight"),
        sections=("promote", "tracking"),
    ),
    Verb(
        name="generate",
        run_dir="begun",
        summary="generate candidate clips and commit each with its measures",
        description="Units that an earlier run committed to <run_dir>/candidates are not made again.",
        examples=("driveforge generate", "driveforge generate executor=ray executor.workers=4 generate.num_clips=200"),
        sections=("data", "generate", "validate", "executor", "tracking"),
    ),
    Verb(
        name="measure",
        summary="measure clips of any origin; needs no model",
        description=(
            "PATH is a folder of videos with scene.json, of shards, or a nuScenes root, told apart by what lies\n"
            "there. Writes parquet. With --pictures, every clip is also drawn: its worst frames, its time line, and\n"
            "what stands out; with validate.calibration=FILE, which of those limits it broke."
        ),
        examples=(
            "driveforge measure footage/",
            "driveforge measure /data/nuscenes data.cameras=[CAM_BACK] --out measures.parquet",
            "driveforge measure spoilt/ --pictures pictures validate.calibration=runs/demo/calibration.json",
        ),
        sections=("data", "validate"),
        usage=" PATH [--out FILE] [--pictures DIR]",
        arguments=(
            (("path",), {"type": Path, "metavar": "PATH", "help": "clips to measure"}),
            (("--out",), {"type": Path, "metavar": "FILE", "help": "default: <run_dir>/measures.parquet"}),
            (("--pictures",), {"type": Path, "metavar": "DIR", "help": "draw every clip, as DIR/<clip id>.png"}),
        ),
    ),
    Verb(
        name="corrupt",
        summary="spoil good clips in one known way, to find out what a measure or a gate sees",
        description=(
            "CLIP is anything that measure reads; every clip in it is written to DIR as a clip folder, spoilt by\n"
            "KIND. --kind list shows all kinds, with the unit of their strength and what they need of a clip. The\n"
            "seed draws what is spoilt, when, and to which side; the same seed gives the same bytes. Exit status 1\n"
            "where a clip cannot be spoilt that way."
        ),
        examples=(
            "driveforge corrupt --kind list",
            "driveforge corrupt clips/scene-1 --kind yaw-rate --strength 3 --out spoilt",
            "driveforge corrupt footage/ --kind cut --other clips/scene-2 --seed 1 --out spoilt",
        ),
        usage=" CLIP --kind KIND --out DIR [--strength X] [--seed N] [--other CLIP]",
        arguments=(
            (("clip",), {"type": Path, "metavar": "CLIP", "nargs": "?", "help": "clips to spoil"}),
            (("--kind",), {"required": True, "metavar": "KIND", "help": "in which way; list: show all kinds"}),
            (("--out",), {"type": Path, "metavar": "DIR", "help": "spoilt clips go here"}),
            (("--strength",), {"type": float, "metavar": "X", "help": "in the kind's unit; default: a strong one"}),
            (("--seed",), {"type": int, "default": 0, "metavar": "N", "help": "default: 0"}),
            (("--other",), {"type": Path, "metavar": "CLIP", "help": "a clip of another place, for a cut"}),
        ),
    ),
    Verb(
        name="study",
        run_dir="begun",
        summary="run an experiment again: what the gate sees, what fine-tuning forgets",
        description=(
            "validator: measures good clips and clips spoilt in every known way, at three sizes, with peers' measures\n"
            "beside ours; an hour or two on two cores. forgetting: fine-tunes small models on driving in every way\n"
            "there is, and judges what they gained and lost; some three hours. Both write a page with a picture, and\n"
            "go on where an earlier call stopped."
        ),
        examples=(
            "driveforge study validator",
            "driveforge study validator study.rows=[64] study.num_good=200 --out /tmp/study.md",
            "driveforge study forgetting forgetting.seeds=1 forgetting.seeds_of_rest=1",
            "driveforge study forgetting forgetting.driving_footage=[road/a.mp4] forgetting.other_footage=[walk/b.mp4]",
        ),
        sections=("study", "forgetting"),
        usage=" validator | forgetting [--out FILE]",
        arguments=(
            (("what",), {"choices": ("validator", "forgetting"), "help": "what is studied"}),
            (("--out",), {"type": Path, "metavar": "FILE", "help": "the page; default: docs/study-<what>.md"}),
        ),
    ),
    Verb(
        name="calibrate",
        run_dir="begun",
        summary="make the gate's limits from known-good clips",
        description="The clips of the data are seen through the model's own codec first, so that geometry is judged.",
        examples=("driveforge calibrate", "driveforge calibrate validate.false_reject_rate=0.02"),
        sections=("data", "model", "validate", "tracking"),
    ),
    Verb(
        name="gate",
        run_dir="continued",
        summary="accept or reject every candidate, with reasons",
        description=(
            "Writes <run_dir>/verdicts.parquet and <run_dir>/review. Cheap: run it again after another calibration,\n"
            "or when <run_dir>/overrides.json has changed."
        ),
        examples=("driveforge gate", "driveforge gate validate.calibration=other.json"),
        sections=("validate", "tracking"),
    ),
    Verb(
        name="review",
        run_dir="continued",
        summary="draw the rejected clips again, with their reasons, beside accepted ones",
        description="Writes <run_dir>/review from what the gate decided, as gate does, and logs it to MLflow.",
        examples=("driveforge review", "driveforge review run_dir=runs/demo"),
        sections=("validate", "tracking"),
    ),
    Verb(
        name="export",
        run_dir="continued",
        summary="pack the accepted clips into WebDataset shards",
        description="Writes <run_dir>/shards with index.json, Croissant metadata and a data card.",
        examples=("driveforge export", "driveforge export export.clips_per_shard=256"),
        sections=("export", "tracking"),
    ),
    Verb(
        name="verify",
        run_dir="read",
        summary="check every byte of exported shards",
        description="DIR is what export wrote, <run_dir>/shards by default. Exit status 1 where anything is wrong.",
        examples=("driveforge verify", "driveforge verify /data/shards"),
        usage=" [DIR]",
        arguments=((("directory",), {"type": Path, "metavar": "DIR", "nargs": "?", "help": "shards to check"}),),
    ),
    Verb(
        name="run",
        run_dir="begun",
        summary="the whole way, from driving data to shards",
        description="Fine-tune, generate, calibrate, gate, review and export, one after the other; resumes.",
        examples=(
            "driveforge run data=nuscenes data.root=DIR data.version=v1.0-mini replay.root=FOOTAGE run_dir=runs/mini",
            "driveforge run data=nuscenes data.root=DIR executor=ray executor.address=auto",
        ),
        sections=_PIPELINE,
    ),
    Verb(
        name="ui",
        run_dir="read",
        summary="show runs and rejected clips in MLflow, on this machine only",
        description="Serves the MLflow store on the loopback address until interrupted.",
        examples=("driveforge ui", "driveforge ui --port 5001 run_dir=runs/mini"),
        sections=("tracking",),
        usage=" [--port N]",
        arguments=((("--port",), {"type": int, "default": 5000, "metavar": "N", "help": "default: 5000"}),),
    ),
)


def settings_help(verb: Verb) -> str:
    """The examples of ``verb`` and its settings with their defaults, as the end of its help."""
    lines = ["examples:", *(f"  {example}" for example in verb.examples), ""]
    if verb.presets:
        lines += [f"{verb.name} presets, over the defaults below: {' '.join(verb.presets)}", ""]
    lines += ["settings:"]
    lines += [_line("run_dir", _read("config")["run_dir"], get_type_hints(Config, include_extras=True)["run_dir"])]
    for section in verb.sections:
        told: set[str] = set()
        for choice, record in _choices(section).items():
            lines += ["", f"  {section}={choice}   {record.__doc__}"]
            values = _read(f"{section}/{choice}")
            hints = get_type_hints(record, include_extras=True)
            fresh = [_line(f"{section}.{key}", values[key], hints[key]) for key in hints if key != "name"]
            lines += [line for line in fresh if line not in told]
            told.update(fresh)
    return "\n".join(lines) + "\n"


def _choices(section: str) -> dict[str, type]:
    """The record behind each choice of a group; where all share one record only the default choice is told."""
    kind = get_type_hints(Config)[section]
    if get_origin(kind) in (Union, UnionType):
        return {get_args(get_type_hints(option)["name"])[0]: option for option in get_args(kind)}
    chosen = next(entry[section] for entry in _read("config")["defaults"] if section in entry)
    return {chosen: kind}


def _read(name: str) -> dict[str, Any]:
    """One file of ``conf/`` over those it builds on."""
    values = yaml.safe_load((resources.files("conf") / f"{name}.yaml").read_text("utf-8"))
    if "/" in name:
        below = [part for part in values.pop("defaults", []) if part != "_self_"]
        for part in below:
            values = {**_read(f"{name.split('/')[0]}/{part}"), **values}
    return dict(values)


def _line(key: str, value: Any, hint: Any) -> str:
    shown = f"{key}=..." if value == "???" else f"{key}={text_of(value)}"
    return f"    {shown:<40}  {hint.__metadata__[0]}"
