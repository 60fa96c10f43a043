"""Dark experience replay: what the base said of every replay sample, stored before it can forget."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from driveforge.datasets.latents.cache import LatentCache, LatentCacheWriter
from driveforge.datasets.latents.shards import LatentSample
from driveforge.finetune.strategies.distillation_loss import alone, mismatch, rows_of
from driveforge.finetune.strategies.strategy import Ground, Overheard, Prediction, Strategy
from driveforge.finetune.world_model.flow import Draws, draw, flow_matching_loss
from driveforge.finetune.world_model.model import WorldModel, model_digest
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.selection import counter_generator

# The place of stored draws among those of all steps and slots: no batch is as large as this.
_STORED_SLOT = 2**40


class DarkReplay(Strategy):
    """DER++ (Buzzega et al. 2020, arXiv 2004.07211; Mammoth's ``derpp``), its logits being the base's velocities.

    loss = mean of flow losses + weight / B * sum over matched i of |v(x_i, sigma_i) - stored velocity_i|^2

    Of every buffer sample one noise, noise level and dropout is fixed by (seed, sample), and the base's velocity there
    is stored in half precision. DER++ draws from the buffer twice, once for each term. Here a coin of (seed, step,
    slot) decides whether a replayed sample comes with its stored noise, where both terms hold, or with fresh noise,
    where the flow loss alone does: so it costs what replay costs, and no teacher is needed while training.
    """

    name = "der"
    mix = "share"
    usual_weight = 1.0

    _seed: int
    _predict: float
    _targets: LatentCache
    _numbers: dict[str, int]

    def prepare(self, ground: Ground) -> None:
        self._seed, self._predict = ground.seed, ground.predict
        if ground.replay is not None:
            self._targets = stored_targets(ground, ground.replay)
            self._numbers = {name: number for number, name in enumerate(self._targets.clip_ids)}

    def draws(self, batch: Mapping[str, Any], draws: Draws) -> Draws:
        rows = self._matched(batch)
        if not rows:
            return draws
        shape = draws.noise.shape[1:]
        names = [_name(batch["domain"][row], batch["clip_id"][row]) for row in rows]
        stored = [stored_draw(self._seed, name, shape, self._predict) for name in names]
        return Draws(
            sigma=_with_rows(draws.sigma, rows, [fixed.sigma for fixed in stored]),
            noise=_with_rows(draws.noise, rows, [fixed.noise for fixed in stored]),
            drop={name: _with_rows(flags, rows, [f.drop[name] for f in stored]) for name, flags in draws.drop.items()},
            context=_with_rows(draws.context, rows, [fixed.context for fixed in stored]),
        )

    def terms(self, model: WorldModel, batch: Mapping[str, Any], prediction: Prediction) -> dict[str, Tensor]:
        rows = self._matched(batch)
        if not rows:
            return {}
        names = [_name(batch["domain"][row], batch["clip_id"][row]) for row in rows]
        target = torch.stack([self._targets.sample(self._numbers[name]).tensors["velocity"].float() for name in names])
        chosen = torch.tensor(rows, device=prediction.velocity.device)
        apart = mismatch(rows_of(prediction, chosen), target.to(chosen.device), batch["cell_weight"][chosen])
        return {"der": self.weight * apart.sum() / len(batch["is_replay"])}

    def _matched(self, batch: Mapping[str, Any]) -> list[int]:
        """The replayed samples of the batch for which the coin says: stored noise."""
        slots = batch["slot"].tolist()
        return [
            row
            for row in batch["is_replay"].nonzero()[:, 0].tolist()
            if counter_generator(self._seed, f"der/{batch['step']}", slots[row]).random() < 0.5
        ]


def stored_targets(ground: Ground, replay: ReplayBuffer) -> LatentCache:
    """The base's velocities for every sample of the buffer, made where they are not there yet; a kill costs a shard."""
    facts = [model_digest(ground.base), replay.digest(), ground.seed, ground.predict]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    root = ground.folder / "targets"
    if not (root / key / "index.json").exists():
        with LatentCacheWriter(root, key) as writer:
            for sample in _samples(replay):
                if _name(sample.domain, sample.clip_id) not in writer.stored:
                    writer.add(_target(ground, sample))
    return LatentCache(root, key)


def stored_draw(seed: int, name: str, shape: tuple[int, ...], predict: float) -> Draws:
    """The one draw (1,...) of a buffer sample, a function of seed and name alone."""
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    return draw(seed, number, [_STORED_SLOT], shape, predict=predict)


def _target(ground: Ground, sample: LatentSample) -> LatentSample:
    name = _name(sample.domain, sample.clip_id)
    latents, cell_weight, conditions = alone(ground.model, sample)
    draws = stored_draw(ground.seed, name, latents.shape[1:], ground.predict)
    heard = Overheard(ground.model)
    with torch.no_grad():
        flow_matching_loss(heard, latents, cell_weight, conditions, draws)
    velocity = heard.prediction.velocity[0].half()
    return LatentSample(clip_id=name, domain=sample.domain, caption="", tensors={"velocity": velocity})


def _samples(replay: ReplayBuffer) -> Iterator[LatentSample]:
    for domain, size in replay.sizes.items():
        for number in range(size):
            yield replay.sample(domain, number)


def _name(domain: str, clip_id: str) -> str:
    return f"{domain}/{clip_id}"


def _with_rows(values: Tensor, rows: list[int], instead: list[Tensor]) -> Tensor:
    """``values`` (B,...), the ``rows`` replaced by one (1,...) each."""
    changed = values.clone()
    changed[rows] = torch.cat(instead).to(values)
    return changed
