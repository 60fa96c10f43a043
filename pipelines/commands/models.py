"""The commands that simulate data, manage the replay buffer, and train, evaluate and promote models."""

from pathlib import Path

from driveforge.pipelines.commands.command import Command

_REPLAY = Command(
    name="replay",
    module="driveforge.pipelines.replay.command",
    summary="manage a persistent replay buffer: add, stats, verify, remove",
    description=(
        "The buffer is replay.buffer=DIR; by default it is the folder `replay` in the parent of the run folder. A "
        "fine-tune uses it if replay.buffer is set.\n\n"
        "add: encodes SOURCE and adds all of its clips, or none if it fails. SOURCE is a folder of videos, a nuScenes "
        "root, a folder of shards, or the word `simulated`. Domains share the capacity equally, unless they have a "
        "--quota. If a domain is full, the retention policy selects the clips to keep: random, herding, or the "
        "highest --scores. The license is given by --license, or by meta.json in the source.\n\n"
        "stats: prints the contents. verify: checks every byte against its hash; exit status 1 if a file is damaged. "
        "remove: deletes all matching clips permanently."
    ),
    examples=(
        "driveforge replay add footage/other --domain handheld --license MIT --quota 200",
        "driveforge replay add simulated --capacity 20GB replay.buffer=/data/replay",
        "driveforge replay stats --out buffer.png",
        "driveforge replay verify",
        "driveforge replay remove --license CC-BY-NC-4.0",
    ),
    sections=("data", "replay", "model"),
    usage=" {add,stats,verify,remove} [SOURCE] [OPTIONS]",
    arguments=(
        (("what",), {"choices": ("add", "stats", "verify", "remove"), "help": "action"}),
        (
            ("path",),
            {"type": Path, "metavar": "SOURCE", "nargs": "?", "help": "clips to add; for remove: all clips from there"},
        ),
        (("--domain",), {"metavar": "NAME", "help": "domain of the clips; default: as in the source"}),
        (("--license",), {"metavar": "NAME", "help": "license of the clips; default: as in meta.json"}),
        (("--quota",), {"metavar": "SIZE", "help": "limit of the domain: a number of clips, or a size such as 2GB"}),
        (
            ("--capacity",),
            {"metavar": "SIZE", "help": "limit of the buffer, in the same units; default: replay.capacity clips"},
        ),
        (
            ("--retention",),
            {"choices": ("random", "herding", "loss"), "help": "retention policy of a new buffer"},
        ),
        (
            ("--scores",),
            {"type": Path, "metavar": "FILE", "help": "JSON with a number per clip id, for --retention loss"},
        ),
        (("--out",), {"type": Path, "metavar": "FILE", "help": "for stats: also write a PNG"}),
    ),
)

MODEL_COMMANDS = (
    Command(
        name="simulate",
        module="driveforge.pipelines.simulate",
        summary="write the simulated world as nuScenes tables and video folders",
        description=(
            "Writes DIR/nuscenes, a data root that nuscenes-devkit opens, and DIR/replay, with one folder for each "
            "clip of other domains that holds video.mp4 and scene.json. The same settings give the same bytes."
        ),
        examples=("driveforge simulate --out data/simulated", "driveforge simulate --out DIR simulate.num_scenes=2"),
        sections=("simulate",),
        usage=" --out DIR",
        arguments=((("--out",), {"type": Path, "required": True, "metavar": "DIR", "help": "a new or empty folder"}),),
    ),
    Command(
        name="pretrain",
        module="driveforge.pipelines.train.pretrain",
        summary="train a base checkpoint",
        description=(
            "Trains the VAE and then the world model on procedural domains, from random weights or from an earlier "
            "base. Interrupted training resumes.\n\n"
            "With pretrain.minutes, it trains by the clock: other processes render clips meanwhile, and the learning "
            "rate is constant for the first half of the time, then falls to zero. pretrain=gpu suits one GPU."
        ),
        examples=(
            "driveforge pretrain",
            "driveforge pretrain pretrain.out=runs/base pretrain.steps=50000",
            "driveforge pretrain pretrain.start=finetune/base pretrain.steps=1500 pretrain.seed=1001",
            "driveforge pretrain pretrain=gpu pretrain.start=finetune/base pretrain.minutes=10",
        ),
        sections=("data", "pretrain"),
    ),
    Command(
        name="cache",
        module="driveforge.pipelines.train.cache",
        run_dir="create",
        summary="encode clips as latents, before a fine-tune",
        description=(
            "Writes the latents of the driving data and of the replay domains to <run_dir>/latents. Optional: finetune "
            "encodes what is missing."
        ),
        examples=("driveforge cache", "driveforge cache data=nuscenes data.root=DIR data.version=v1.0-mini"),
        sections=("data", "replay", "model"),
    ),
    _REPLAY,
    Command(
        name="estimate",
        module="driveforge.pipelines.train.estimate.command",
        run_dir="read",
        summary="estimate memory and time of a fine-tune, before anything is spent",
        description=(
            "Prints the memory of a fine-tune and of generation by part, the seconds of a step and of a clip, the "
            "largest batch, and which settings lower the memory. Reads the configuration files of the model, no "
            "weights and no data. Exit status 1 if it does not fit."
        ),
        examples=(
            "driveforge estimate model.checkpoint=DIR data.height=480 data.width=832 data.num_frames=81 gpus=8",
            "driveforge estimate finetune=full finetune.precision=bf16 estimate.gpus=8 estimate.gpu=H200",
            "driveforge estimate estimate.device=cpu",
        ),
        sections=("data", "model", "finetune", "generate", "estimate"),
        short_keys={"gpus": "estimate.gpus"},
    ),
    Command(
        name="finetune",
        module="driveforge.pipelines.train.finetune",
        run_dir="create",
        summary="fine-tune the world model on driving data, with replay",
        description="Writes the model to <run_dir>/model. An interrupted fine-tune resumes.",
        examples=(
            "driveforge finetune replay.share=0.25",
            "driveforge finetune finetune=full data=nuscenes data.root=DIR",
            "driveforge finetune finetune.strategy=naive run_dir=runs/naive",
        ),
        sections=("data", "replay", "model", "finetune", "tracking"),
    ),
    Command(
        name="evaluate",
        module="driveforge.pipelines.train.evaluate",
        run_dir="create",
        summary="evaluate a model on held-out clips of every domain",
        description=(
            "MODEL continues held-out clips from their first frames without a command, so that all motion comes from "
            "the model. Writes metrics of every clip to <run_dir>/evaluation.parquet: loss by noise level for moving "
            "and static regions, error and permanence of objects, camera motion, and appearance. Writes a picture of "
            "some clips to <run_dir>/evaluation.png. The held-out clips are encoded once, in <run_dir>/../evaluation."
        ),
        examples=(
            "driveforge evaluate",
            "driveforge evaluate base evaluate.dynamics=false",
            "driveforge evaluate runs/tonight/model evaluate.footage=[footage/held-out]",
        ),
        sections=("data", "replay", "evaluate", "tracking"),
        usage=" [MODEL]",
        arguments=(
            (
                ("model",),
                {
                    "metavar": "MODEL",
                    "nargs": "?",
                    "help": "a model folder, base, champion or champion-or-base; default: <run_dir>/model",
                },
            ),
        ),
    ),
    Command(
        name="promote",
        module="driveforge.pipelines.registry.promote",
        run_dir="existing",
        summary="make a fine-tuned model champion if driving improved and no domain regressed",
        description=(
            "Registers the model in MLflow as candidate and compares its evaluation, clip by clip, with the champion "
            "and with the base. The candidate becomes champion only if the driving metric improved, and if regressions "
            "of the dynamics metrics beyond the tolerance can be ruled out in every domain. Otherwise prints the "
            "domain, the metric and the change, and ends with exit status 1. <run_dir>/promotion.png shows all checks."
        ),
        examples=("driveforge promote", "driveforge promote runs/tonight/model promote.tolerance=0.02"),
        sections=("promote", "tracking"),
        usage=" [CANDIDATE]",
        arguments=(
            (
                ("candidate",),
                {
                    "type": Path,
                    "metavar": "CANDIDATE",
                    "nargs": "?",
                    "help": "a model folder in a folder with evaluation.parquet; default: <run_dir>/model",
                },
            ),
        ),
    ),
    Command(
        name="rollback",
        module="driveforge.pipelines.registry.rollback",
        run_dir="read",
        summary="make the previous champion the champion again",
        description=(
            "The demoted model is not promoted again, unless its tag driveforge.rolled_back is deleted in MLflow."
        ),
        examples=("driveforge rollback", "driveforge rollback run_dir=runs/tonight"),
        sections=("promote", "tracking"),
    ),
)
