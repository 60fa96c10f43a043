"""The commands that make, evaluate and promote a model, and what it learns from."""

from pathlib import Path

from driveforge.pipelines.commands.command import Command

MODEL_COMMANDS = (
    Command(
        name="simulate",
        module="driveforge.pipelines.simulate",
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
    Command(
        name="pretrain",
        module="driveforge.pipelines.train.pretrain",
        summary="train the base checkpoint, from nothing or from an earlier one",
        description="Trains the VAE and the world model on diverse procedural domains. Stop it at will: it resumes.",
        examples=(
            "driveforge pretrain",
            "driveforge pretrain pretrain.out=runs/base pretrain.steps=50000",
            "driveforge pretrain pretrain.start=finetune/base pretrain.steps=1500 pretrain.seed=1001",
        ),
        sections=("data", "pretrain"),
    ),
    Command(
        name="cache",
        module="driveforge.pipelines.train.cache",
        run_dir="create",
        summary="encode clips once, so that fine-tuning reads latents instead of video",
        description="Writes the latents of the driving data and of the replay domains to <run_dir>/latents.",
        examples=("driveforge cache", "driveforge cache data=nuscenes data.root=DIR data.version=v1.0-mini"),
        sections=("data", "replay", "model"),
    ),
    Command(
        name="replay",
        module="driveforge.pipelines.replay.command",
        summary="keep a buffer of other domains that outlasts runs: add, stats, verify, remove",
        description=(
            "The buffer is replay.buffer=DIR, by default the folder replay beside the run folders; a fine-tune uses\n"
            "it where replay.buffer is set. add: SOURCE is a folder of videos, a nuScenes root, shards, or the word\n"
            "simulated; all of it is in the buffer when the command has ended, or nothing. Domains share the capacity\n"
            "equally, or have a --quota; beyond it, chance, herding or the highest scores decide who stays. A license\n"
            "is what --license says, or a meta.json in the source. stats: what is there. verify: every byte by its\n"
            "hash; exit status 1 where anything is wrong. remove: all clips that match, for good."
        ),
        examples=(
            "driveforge replay add footage/other --domain handheld --license MIT --quota 200",
            "driveforge replay add simulated --capacity 20GB replay.buffer=/data/replay",
            "driveforge replay stats --out buffer.png",
            "driveforge replay verify",
            "driveforge replay remove --license CC-BY-NC-4.0",
        ),
        sections=("data", "replay", "model"),
        usage=" add SOURCE [--domain NAME] | stats | verify | remove [SOURCE] [--domain NAME]",
        arguments=(
            (("what",), {"choices": ("add", "stats", "verify", "remove"), "help": "what is done"}),
            (
                ("path",),
                {"type": Path, "metavar": "SOURCE", "nargs": "?", "help": "clips to add; remove: all from there"},
            ),
            (("--domain",), {"metavar": "NAME", "help": "of the clips; default: what the source says"}),
            (("--license",), {"metavar": "NAME", "help": "of the clips; default: what meta.json says"}),
            (("--quota",), {"metavar": "SIZE", "help": "for the domain: a number of clips, or a size such as 2GB"}),
            (("--capacity",), {"metavar": "SIZE", "help": "of the buffer, likewise; default: replay.capacity clips"}),
            (("--retention",), {"choices": ("random", "herding", "loss"), "help": "who stays; of a new buffer"}),
            (
                ("--scores",),
                {"type": Path, "metavar": "FILE", "help": "JSON, a number a clip id, for --retention loss"},
            ),
            (("--out",), {"type": Path, "metavar": "FILE", "help": "stats: draw them too, as a PNG"}),
        ),
    ),
    Command(
        name="finetune",
        module="driveforge.pipelines.train.finetune",
        run_dir="create",
        summary="fine-tune the world model on the driving data, with replay",
        description="Resumes a run that was cut short. The result is <run_dir>/model.",
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
        summary="measure on held-out clips what a model can do: losses, motion and looks, domain by domain",
        description=(
            "MODEL goes on from the first frames of clips that no training sees, without a command, so that all\n"
            "motion has to come from it. Every clip's losses by noise level, apart for what moves and what stands,\n"
            "the error and permanence of its objects, its camera's motion and its looks go to\n"
            "<run_dir>/evaluation.parquet, beside those of other models; <run_dir>/evaluation.png shows some clips.\n"
            "MODEL is a model folder, or base, champion or champion-or-base; <run_dir>/model by default. The clips\n"
            "are made and encoded once, in <run_dir>/../evaluation."
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
                {"metavar": "MODEL", "nargs": "?", "help": "a model folder, base, champion, champion-or-base"},
            ),
        ),
    ),
    Command(
        name="promote",
        module="driveforge.pipelines.registry.promote",
        run_dir="existing",
        summary="make a fine-tuned model champion if driving improved and nothing was forgotten",
        description=(
            "Registers the model in MLflow as candidate and compares its evaluation with the champion,\n"
            "or with the base where there is none, clip by clip. It becomes champion only if the measure of driving\n"
            "improved, and if a fall of any measure of dynamics beyond the tolerance can be excluded in every domain,\n"
            "against the champion and against the base. Else it says which domain, which measure and by how much,\n"
            "draws it in <run_dir>/promotion.png, leaves the champion alone and ends with exit status 1.\n"
            "CANDIDATE is a model folder, <run_dir>/model by default; evaluation.parquet lies beside it."
        ),
        examples=("driveforge promote", "driveforge promote runs/tonight/model promote.tolerance=0.02"),
        sections=("promote", "tracking"),
        usage=" [CANDIDATE]",
        arguments=((("candidate",), {"type": Path, "metavar": "CANDIDATE", "nargs": "?", "help": "a model folder"}),),
    ),
    Command(
        name="rollback",
        module="driveforge.pipelines.registry.rollback",
        run_dir="read",
        summary="take the champion back: the one before it is champion again",
        description="The model that was taken back is not promoted again, until its tag is taken away in MLflow.",
        examples=("driveforge rollback", "driveforge rollback run_dir=runs/tonight"),
        sections=("promote", "tracking"),
    ),
)
