"""What a command may be told: typed, frozen records; their values stand in ``conf/``.

Fields have no defaults here on purpose: every default stands once, in YAML. The text beside a type is what ``--help``
prints. Nothing heavy is imported, so that help and configuration errors come at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from driveforge.pipelines.config.build import Range
from driveforge.pipelines.config.sizes import FRAMES, SIDE


@dataclass(frozen=True, kw_only=True, slots=True)
class Framing:
    """The size, rate and length that footage is brought to."""

    height: Annotated[int, "rows", SIDE]
    width: Annotated[int, "columns", SIDE]
    frame_rate: Annotated[float, "Hz", Range(0.1)]
    num_frames: Annotated[int, "frames in a clip, 1 + 4k", FRAMES]
    stride: Annotated[int, "frames from the start of one clip to the next", Range(1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedData(Framing):
    """Clips of the procedural world, made as they are read."""

    name: Literal["simulated"]
    num_scenes: Annotated[int, "clips over all domains", Range(1)]
    domains: Annotated[tuple[str, ...], "for example driving-day, driving-dusk, driving-rain"]
    seed: Annotated[int, "same seed, same world", Range(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class NuScenesData(Framing):
    """A nuScenes data set, or anything in its tables."""

    name: Literal["nuscenes"]
    root: Annotated[Path, "the folder that holds samples, sweeps and the version's tables"]
    version: Annotated[str, "the folder of the tables, for example v1.0-mini"]
    split: Annotated[str, "all, train, val, mini_train, mini_val, test"]
    cameras: Annotated[tuple[str, ...], "channels, for example [CAM_FRONT]"]
    sweeps: Annotated[bool, "read the frames between key frames; boxes are interpolated"]
    continue_short: Annotated[bool, "hold the last frame of recordings shorter than a clip"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoData(Framing):
    """A folder of videos, each with an optional scene.json."""

    name: Literal["video"]
    root: Annotated[Path, "searched for *.mp4, *.m4v and *.mov"]
    domain: Annotated[str | None, "for every clip; null: from scene.json, or the folder's name"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardData(Framing):
    """Shards that an export wrote."""

    name: Literal["shards"]
    root: Annotated[Path, "the folder that holds index.json"]


Data = SimulatedData | NuScenesData | VideoData | ShardData


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayConfig:
    """Clips of other domains, mixed into the fine-tune so that motion is not forgotten."""

    share: Annotated[float, "of every batch, 0 to 1", Range(0, 1)]
    schedule: Annotated[
        Literal["fixed", "linear", "adaptive"],
        "the share stays; or goes to final_share along a line; or follows what a probe finds forgotten",
    ]
    final_share: Annotated[float, "at the last step, where the schedule is linear", Range(0, 1)]
    tolerance: Annotated[float, "what a domain may lose against the base, where the share is adaptive", Range(0)]
    probe_every: Annotated[int, "optimiser steps between probes, where the share is adaptive", Range(1)]
    loss_weight: Annotated[float, "of a replayed sample's loss", Range(0)]
    capacity: Annotated[int, "clips that a buffer holds on disk, where it is made", Range(1)]
    buffer: Annotated[Path | None, "of `replay add`; null: a run fills its own, the verb <run_dir>/../replay"]
    licences: Annotated[tuple[str, ...] | None, "train on clips under these alone; null: on all"]
    root: Annotated[Path | None, "a folder of videos; null: the procedural domains below"]
    domains: Annotated[tuple[str, ...], "procedural domains, used where root is null"]
    num_scenes: Annotated[int, "procedural clips over all domains", Range(1)]
    seed: Annotated[int, "of the buffer's choice and the batch plan", Range(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The world model that a fine-tune starts from."""

    checkpoint: Annotated[
        str, "base: ships with the project; champion: see promote; champion-or-base; or a model folder"
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulateConfig:
    """The procedural world, written out as nuScenes tables and video folders."""

    num_scenes: Annotated[int, "driving recordings", Range(1)]
    seconds: Annotated[float, "length of a recording", Range(1)]
    height: Annotated[int, "rows", Range(16, step=2)]
    width: Annotated[int, "columns", Range(16, step=2)]
    frame_rate: Annotated[float, "Hz of the sweeps; key frames are at 2 Hz", Range(0.1)]
    cameras: Annotated[tuple[str, ...], "channels"]
    replay_clips: Annotated[int, "clips of the other domains", Range(0)]
    replay_domains: Annotated[tuple[str, ...], "non-driving domains, in equal parts"]
    seed: Annotated[int, "same seed, same world", Range(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """The base checkpoint: the codec from its PCA start, then the world model on diverse procedural domains."""

    out: Annotated[Path, "folder of the checkpoint; an unfinished one is resumed"]
    start: Annotated[Path | None, "an earlier base to go on from, with its codec; null: from nothing"]
    domains: Annotated[tuple[str, ...], "procedural domains, in equal parts"]
    num_scenes: Annotated[int, "clips over all domains", Range(1)]
    vae_clips: Annotated[int, "clips that the codec is trained on", Range(1)]
    vae_steps: Annotated[int, "optimiser steps of the codec", Range(0)]
    vae_batch_size: Annotated[int, "stretches of five frames", Range(1)]
    vae_learning_rate: Annotated[float, "peak", Range(0)]
    steps: Annotated[int, "optimiser steps of the world model", Range(1)]
    batch_size: Annotated[int, "clips in a step", Range(1)]
    learning_rate: Annotated[float, "peak", Range(0)]
    ema_decay: Annotated[float, "of the averaged weights", Range(0, 1)]
    precision: Annotated[Literal["32", "bf16"], "bf16 where the machine has it"]
    checkpoint_every: Annotated[int, "steps", Range(1)]
    predict: Annotated[float, "share of samples that go on from a few frames without a command", Range(0, 1)]
    seed: Annotated[int, "of data, noise and order", Range(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig:
    """Fine-tuning of the world model on the driving data."""

    strategy: Annotated[
        Literal["naive", "replay", "replay+distill", "der", "l2sp", "ewc", "ewc-rank1", "joint", "interpolate"],
        "against forgetting; naive does nothing",
    ]
    strategy_weight: Annotated[
        float | None,
        "of what the strategy adds to the loss, or of the tuned weights in interpolate; null: its own",
        Range(0),
    ]
    adapter: Annotated[Literal["lora", "full"], "what is trained"]
    lora_rank: Annotated[int, "used with the lora adapter", Range(1)]
    steps: Annotated[int, "optimiser steps", Range(1)]
    batch_size: Annotated[int, "clips in a step, before accumulation", Range(1)]
    accumulate: Annotated[int, "batches in an optimiser step", Range(1)]
    learning_rate: Annotated[float, "peak", Range(0)]
    ema_decay: Annotated[float, "of the averaged weights", Range(0, 1)]
    clip: Annotated[float, "largest gradient norm", Range(0)]
    precision: Annotated[Literal["32", "bf16"], "bf16 where the machine has it"]
    checkpoint_every: Annotated[int, "optimiser steps", Range(1)]
    predict: Annotated[float, "share of samples that go on from a few frames without a command", Range(0, 1)]
    seed: Annotated[int, "of noise and order", Range(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig:
    """What a model is probed with: held-out clips of every domain, gone on from without a command."""

    domains: Annotated[tuple[str, ...], "procedural domains"]
    clips_per_domain: Annotated[int, "clips; a Frechet distance needs 8", Range(1)]
    footage: Annotated[
        tuple[Path, ...], "real clips too: folders of videos, shards, nuScenes roots (with data=nuscenes)"
    ]
    seed: Annotated[int, "of the procedural clips and of all noise; no other seed may be this", Range(0)]
    context: Annotated[int, "given frames, the rest is the model's", Range(2, 6)]
    modes: Annotated[tuple[Literal["predict", "command"], ...], "of the loss: without a command, and told everything"]
    sigma_edges: Annotated[tuple[float, ...], "noise levels between which the loss is told apart"]
    num_steps: Annotated[int, "sampling steps", Range(1)]
    dynamics: Annotated[bool, "generate and measure motion too; false: losses alone, at half the cost"]
    batch_size: Annotated[int, "clips at a time", Range(1)]
    every: Annotated[int, "optimiser steps from probe to probe of a fine-tune; 0: none while it trains", Range(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromoteConfig:
    """When a fine-tuned model becomes champion, by what the probe found on held-out clips."""

    registered_as: Annotated[str, "name of the models in MLflow's registry"]
    improve: Annotated[str, "measure that must improve on driving"]
    dynamics: Annotated[tuple[str, ...], "measures that must not fall in any domain"]
    driving: Annotated[tuple[str, ...], "patterns of the domains that are driving"]
    tolerance: Annotated[float, "largest fall, as a share of the value before", Range(0)]
    confidence: Annotated[float, "with which a larger fall must be excluded", Range(0.5, 0.999)]
    min_clips: Annotated[int, "fewer clips than this tell nothing", Range(2)]


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateConfig:
    """Which clips are asked of the model, and how they are sampled."""

    num_clips: Annotated[int, "candidates", Range(1)]
    clips_per_unit: Annotated[int, "clips that one worker makes and commits together", Range(1)]
    edits: Annotated[
        tuple[str, ...],
        "taken in turn: as-recorded, slower, shift-left, mirror-yaw, dusk, agent-shifts … (generation/edits.py)",
    ]
    num_steps: Annotated[int, "sampling steps from strength down", Range(1)]
    strength: Annotated[float, "noise level to begin at, from the carried first frame; 1 is pure noise", Range(0, 1)]
    inpaint_steps: Annotated[int, "steps before those, where the carried first frame shows nothing", Range(0)]
    inpaint_strength: Annotated[float, "noise level to begin at there", Range(0, 1)]
    guidance_scale: Annotated[float, "1 is no guidance", Range(0)]
    num_steps_without_frame: Annotated[int, "sampling steps of clips without a first frame, from pure noise", Range(1)]
    guidance_scale_without_frame: Annotated[float, "of those clips", Range(0)]
    seed: Annotated[int, "of the requests and their noise", Range(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateConfig:
    """How clips are measured, and how the gate is calibrated."""

    calibration: Annotated[Path | None, "a calibration file; null: <run_dir>/calibration.json (measure: none)"]
    false_reject_rate: Annotated[float, "share of good clips that the gate may refuse", Range(0, 1)]
    num_clips: Annotated[int, "known-good clips that calibrate measures", Range(1)]
    tracker: Annotated[Literal["lucas_kanade", "cotracker"], "follows points; cotracker wants a GPU and weights"]
    tracker_weights: Annotated[Path | None, "scaled_offline.pth of CoTracker3"]
    pose_network: Annotated[Path | None, "a TorchScript file: frames (T, 3, H, W) to camera poses (T, 4, 4)"]
    deep_check: Annotated[bool, "map the frames with COLMAP: ten CPU-seconds a camera, from 256 rows on"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """Packing of accepted clips."""

    clips_per_shard: Annotated[int, "samples in a tar", Range(1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutorConfig:
    """Who makes the units."""

    name: Annotated[Literal["local", "ray"], "local: processes of this machine"]
    workers: Annotated[int, "processes, of one thread each", Range(1)]
    address: Annotated[str | None, "of a Ray cluster; null starts one here"]
    max_attempts: Annotated[int, "of a unit before it is set aside", Range(1)]
    unit_timeout: Annotated[float, "times the median of a unit, after which an attempt is stopped", Range(1)]
    first_timeout: Annotated[float, "seconds, as long as no unit was made and there is no median", Range(1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingConfig:
    """Where MLflow keeps runs."""

    uri: Annotated[str | None, "null: sqlite beside the run folders"]
    experiment: Annotated[str, "name"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Everything a command is told; ``run_dir`` is where it keeps what it makes."""

    run_dir: Annotated[Path, "what the run makes goes here"]
    data: Data
    replay: ReplayConfig
    model: ModelConfig
    simulate: SimulateConfig
    pretrain: PretrainConfig
    finetune: FinetuneConfig
    probe: ProbeConfig
    promote: PromoteConfig
    generate: GenerateConfig
    validate: ValidateConfig
    export: ExportConfig
    executor: ExecutorConfig
    tracking: TrackingConfig
