"""Runs of the arms: training and evaluation with one seed. Finished ones are kept in the run folder."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.geometry import Array
from driveforge.datasets.progress import track
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.studies.downstream.arms import Arm
from driveforge.pipelines.studies.downstream.drives import Drive, load_clip
from driveforge.pipelines.studies.downstream.evaluation import evaluate
from driveforge.pipelines.studies.downstream.generators import GeneratedClip, recording_path
from driveforge.pipelines.studies.downstream.labels import LabeledFrame, annotate, label_frames
from driveforge.pipelines.studies.downstream.networks import PerceptionNetwork, train_network
from driveforge.pipelines.studies.downstream.settings import DownstreamStudy

TEST_EVERY = 8  # frames of a test clip; those between hardly differ


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """The metrics of a trained network: the value on all test clips, then on each of the resampled ones."""

    arm: Arm
    seed: int
    metrics: Mapping[str, Array]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A run to do: the arm, its seed, and the drives to train and to test on."""

    arm: Arm
    seed: int
    real: tuple[Drive, ...]
    test: tuple[Drive, ...]
    settings: DownstreamStudy

    @property
    def path(self) -> Path:
        """The file of the result, named after all that determines it."""
        settings = self.settings
        record = [
            [clip.path.relative_to(settings.run_dir).as_posix() for clip in draw(self.arm, self.seed)],
            [(drive.seed, drive.number) for drive in (*self.real, *self.test)],
            [settings.steps, settings.batch_size, settings.learning_rate, self.arm.share, self.seed],
        ]
        return settings.run_dir / "runs" / f"{hashlib.sha256(json.dumps(record).encode()).hexdigest()[:24]}.json"


def run_arms(
    settings: DownstreamStudy, arms: Sequence[Arm], real: Sequence[Drive], test: Sequence[Drive]
) -> list[RunResult]:
    """The results of all arms with all seeds; those of finished runs are read."""
    jobs = [
        Job(arm=arm, seed=seed, real=tuple(real), test=tuple(test), settings=settings)
        for is_sweep in (False, True)  # last, since they are the least needed if the study is interrupted
        for seed in range(settings.num_seeds)
        for arm in arms
        if (arm.share not in (0.0, settings.share)) == is_sweep
    ]
    missing = [job for job in jobs if not job.path.is_file()]
    for _ in track(parallel_map(run, missing), "Training", len(missing), disable=not missing):
        pass
    return [_read(job) for job in jobs]


def _read(job: Job) -> RunResult:
    record = json.loads(job.path.read_bytes())
    metrics = {name: np.array(values, np.float64) for name, values in record["metrics"].items()}
    return RunResult(arm=job.arm, seed=job.seed, metrics=metrics)


def run(job: Job) -> None:
    """Train and evaluate, and store the metrics."""
    focal = float(np.asarray(job.test[0].scene().cameras[0].intrinsics)[0, 0])
    test = [real_frames(job.settings.run_dir, drive)[::TEST_EVERY] for drive in job.test]
    metrics = evaluate(train(job), test, focal)
    rounded = {name: [None if np.isnan(x) else round(float(x), 6) for x in values] for name, values in metrics.items()}
    record = {"arm": job.arm.what, "generator": job.arm.generator, "seed": job.seed, "metrics": rounded}
    write_atomic(job.path, json.dumps(record).encode())


def train(job: Job) -> PerceptionNetwork:
    """The network of the arm with the seed; a pure function of the job and the stored clips."""
    settings = job.settings
    return train_network(
        [frame for drive in job.real for frame in real_frames(settings.run_dir, drive)],
        [frame for clip in draw(job.arm, job.seed) for frame in added_frames(settings.run_dir, clip)],
        share=job.arm.share,
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=job.seed,
    )


def draw(arm: Arm, seed: int) -> list[GeneratedClip]:
    """The added clips of a seed."""
    order = np.random.default_rng(seed).permutation(len(arm.pool))
    return [arm.pool[number] for number in sorted(order[: arm.count].tolist())]


@lru_cache(maxsize=1024)
def real_frames(run_dir: Path, drive: Drive) -> tuple[LabeledFrame, ...]:
    return tuple(label_frames(load_clip(recording_path(run_dir, drive))[0]))


@lru_cache(maxsize=1024)
def added_frames(run_dir: Path, added: GeneratedClip) -> tuple[LabeledFrame, ...]:
    """The frames of an added clip, with the labels of its command."""
    clip, _ = load_clip(added.path)
    recorded, _ = load_clip(recording_path(run_dir, added.drive))
    annotated = annotate(clip.scene, recorded.scene)
    return tuple(label_frames(clip.with_scene(tracks=annotated.tracks)))
