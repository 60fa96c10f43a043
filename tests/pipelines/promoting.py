"""Runs with a model folder and a made-up evaluation table beside it; as a command, promotions that race or are killed.

``python -m tests.pipelines.promoting KILLED RUN... KEY=VALUE...`` promotes the first run in a process that is killed
just before the champion would change, then all others at once, each in its own process. It prints how they ended.
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

LOOKS, MOTION = "next_frame/psnr", "points/static"
DOMAINS = ("driving-day", "orbit", "walkers")
CLIPS = 10


def make_evaluation(
    looks: float = 0.0, falls: Mapping[str, float] | None = None, *, spread: float = 0.005, protocol: str = "p1"
) -> Evaluation:
    """``looks`` dB better than the base, in driving; motion worse by ``falls`` of the base's in a domain."""
    values = []
    for number, domain in enumerate(DOMAINS):
        plot_promotion = np.random.default_rng(number)
        base, noise = plot_promotion.gamma(9.0, 0.1, CLIPS), 1 + spread * plot_promotion.normal(size=CLIPS)
        worse = base * (1 + (falls or {}).get(domain, 0.0)) * noise
        for clip in range(CLIPS):
            told: dict[str, Any] = {"clip_id": f"{domain}-{clip}", "domain": domain}
            values.append(EvaluationValue(**told, measure=MOTION, value=float(worse[clip])))
            values.append(EvaluationValue(**told, measure=LOOKS, value=float(20 + base[clip] + looks * noise[clip])))
    return Evaluation(protocol=protocol, values=tuple(values))


def make_model(folder: Path, weights: str) -> str:
    """A folder that passes for a model; its digest."""
    folder.mkdir(parents=True)
    (folder / "world_model.json").write_text("{}\n")
    (folder / "lineage.json").write_text('{"base": "base"}\n')
    (folder / "weights.safetensors").write_text(weights)
    return compute_model_digest(folder)


def make_run(run_dir: Path, history: Mapping[int | tuple[int, str], Evaluation]) -> str:
    """A run that ended with a model of its own; returns its digest.

    ``history`` has the evaluations by step. The last is of the model, the others are of the base and of unnamed models
    between, unless a digest is given with the step.
    """
    digest = make_model(run_dir / "model", str(run_dir))
    for number, (key, found) in enumerate(history.items()):
        step, model = key if isinstance(key, tuple) else (key, f"step-{key}" if key else "base")
        append_evaluation(
            run_dir / "evaluation.parquet", found, step=step, model=digest if number == len(history) - 1 else model
        )
    return digest


def _promoting(run_dir: str, settings: list[str], *, at: float, kill: bool) -> int:
    """The id of a process that begins to promote at a moment; decisions take a while, so that they would overlap."""
    if child := os.fork():
        return child
    judge = stage.decide_promotion

    def slow(*args: Any) -> Any:
        time.sleep(0.5)
        return judge(*args)

    stage.decide_promotion = slow
    stage.plot_promotion = lambda path, *_: path.write_bytes(b"a picture")
    if kill:
        Registry.set_champion = lambda *args: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    time.sleep(max(0.0, at - time.time()))
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    os._exit(main(["promote", f"run_dir={run_dir}", *settings]))


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def race(killed: str, runs: list[str], settings: list[str]) -> list[int]:
    first = _ended(_promoting(killed, settings, at=0.0, kill=True))
    start = time.time() + 0.5
    return [first, *map(_ended, [_promoting(run_dir, settings, at=start, kill=False) for run_dir in runs])]


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if "=" not in word]
    print(*race(given[0], given[1:], [word for word in sys.argv[1:] if "=" in word]))
