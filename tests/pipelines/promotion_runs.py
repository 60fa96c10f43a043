"""Run folders with a fake model and a made-up evaluation table; as a command, concurrent and killed promotions.

``python -m tests.pipelines.promotion_runs KILLED RUN... KEY=VALUE...`` promotes the first run in a process that is
killed just before the champion changes, then all others at the same time, each in its own process. It prints their exit
statuses.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from driveforge.finetune.evaluation.results import Evaluation, EvaluationValue, append_evaluation
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.pipelines.cli import main
from driveforge.pipelines.registry import promote as stage
from driveforge.pipelines.registry.versions import Registry

APPEARANCE, MOTION = "next_frame/psnr", "points/static"
DOMAINS = ("driving-day", "orbit", "walkers")
CLIPS = 10


def make_evaluation(
    gain: float = 0.0, regressions: Mapping[str, float] | None = None, *, spread: float = 0.005, protocol: str = "p1"
) -> Evaluation:
    """Appearance ``gain`` dB above the base; motion errors higher by the share ``regressions`` of each domain."""
    values = []
    for number, domain in enumerate(DOMAINS):
        rng = np.random.default_rng(number)
        base, noise = rng.gamma(9.0, 0.1, CLIPS), 1 + spread * rng.normal(size=CLIPS)
        worse = base * (1 + (regressions or {}).get(domain, 0.0)) * noise
        for clip in range(CLIPS):
            fields: dict[str, Any] = {"clip_id": f"{domain}-{clip}", "domain": domain}
            values.append(EvaluationValue(**fields, measure=MOTION, value=float(worse[clip])))
            appearance = float(20 + base[clip] + gain * noise[clip])
            values.append(EvaluationValue(**fields, measure=APPEARANCE, value=appearance))
    return Evaluation(protocol=protocol, values=tuple(values))


def make_model(folder: Path, weights: str) -> str:
    """Write a folder that is accepted as a model; returns its digest."""
    folder.mkdir(parents=True)
    (folder / "world_model.json").write_text("{}\n")
    (folder / "lineage.json").write_text('{"base": "base"}\n')
    (folder / "weights.safetensors").write_text(weights)
    return compute_model_digest(folder)


def make_run(run_dir: Path, history: Mapping[int | tuple[int, str], Evaluation]) -> str:
    """Write a run folder with a model and its evaluations; returns the digest of the model.

    ``history`` maps the step, or (step, digest), to an evaluation. The last one is of the model. The others are of the
    base at step 0 and of intermediate checkpoints, unless a digest is given.
    """
    digest = make_model(run_dir / "model", str(run_dir))
    for number, (key, evaluation) in enumerate(history.items()):
        step, model = key if isinstance(key, tuple) else (key, f"step-{key}" if key else "base")
        append_evaluation(
            run_dir / "evaluation.parquet", evaluation, step=step, model=digest if number == len(history) - 1 else model
        )
    return digest


def _start_promotion(run_dir: str, settings: list[str], *, at: float, kill: bool) -> int:
    """Fork a process that promotes at the time ``at``; returns its id. Decisions take 0.5 s, so they overlap."""
    if child := os.fork():
        return child
    decide = stage.decide_promotion

    def decide_slowly(*args: Any) -> Any:
        time.sleep(0.5)
        return decide(*args)

    stage.decide_promotion = decide_slowly
    stage.plot_promotion = lambda path, *_: path.write_bytes(b"a picture")
    if kill:
        Registry.set_champion = lambda *args: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    time.sleep(max(0.0, at - time.time()))
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    os._exit(main(["promote", f"run_dir={run_dir}", *settings]))


def _exit_status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_promotions(killed: str, runs: list[str], settings: list[str]) -> list[int]:
    first = _exit_status(_start_promotion(killed, settings, at=0.0, kill=True))
    start = time.time() + 0.5
    others = [_start_promotion(run_dir, settings, at=start, kill=False) for run_dir in runs]
    return [first, *map(_exit_status, others)]


if __name__ == "__main__":
    run_dirs = [word for word in sys.argv[1:] if "=" not in word]
    print(*run_promotions(run_dirs[0], run_dirs[1:], [word for word in sys.argv[1:] if "=" in word]))
