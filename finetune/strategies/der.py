"""Dark experience replay: the base's velocity on every replay sample is stored before training and then matched."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from driveforge.datasets.latents.cache import LatentCache, LatentCacheWriter
from driveforge.datasets.latents.shards import LatentSample
from driveforge.finetune.strategies.distillation_loss import make_single_sample_batch, velocity_mse
from driveforge.finetune.strategies.strategy import Prediction, RecordingModel, Strategy, StrategyContext
from driveforge.finetune.world_model.flow import NoiseSample, flow_matching_loss, sample_noise
from driveforge.finetune.world_model.model import WorldModel, compute_model_digest
from driveforge.replay.buffer import ReplayBuffer
from driveforge.replay.dataset import Batch
from driveforge.replay.selection import counter_generator

# A slot that no batch has, so that stored noise differs from that of training.
_STORED_SLOT = 2**40


class DarkReplay(Strategy):
    """DER++ (Buzzega et al. 2020, arXiv 2004.07211; Mammoth's ``derpp``), with the base's velocities as logits.

    loss = mean of flow losses + weight / B * sum over matched i of |v(x_i, sigma_i) - stored velocity_i|^2

    For every buffer sample one noise, noise level and dropout is fixed by (seed, sample), and the base's velocity at
    them is stored in half precision. DER++ samples the buffer twice, once for each term. Here a hash of (seed, step,
    slot) decides whether a replayed sample uses its stored noise and both terms, or new noise and only the flow loss.
    It therefore costs as much as replay, and needs no teacher during training.
    """

    name = "der"
    replay_mode = "share"
    needs_whole_model = True
    default_weight = 1.0

    _seed: int
    _continuation_prob: float
    _targets: LatentCache
    _indices: dict[str, int]

    def prepare(self, context: StrategyContext) -> None:
        self._seed, self._continuation_prob = context.seed, context.continuation_prob
        if context.replay is not None:
            self._targets = load_or_compute_targets(context, context.replay)
            self._indices = {name: number for number, name in enumerate(self._targets.clip_ids)}

    def adjust_noise(self, batch: Batch, noise_sample: NoiseSample) -> NoiseSample:
        rows = self._select_stored_rows(batch)
        if not rows:
            return noise_sample
        shape = noise_sample.noise.shape[1:]
        names = [_sample_name(batch.domain[row], batch.clip_id[row]) for row in rows]
        stored = [sample_stored_noise(self._seed, name, shape, self._continuation_prob) for name in names]
        context_noise = noise_sample.context_noise
        if context_noise is not None:  # the stored velocities are those of clean context frames
            clean = [torch.zeros(1) for _ in rows]
            context_noise = replace(context_noise, level=_replace_rows(context_noise.level, rows, clean))
        return NoiseSample(
            context_noise=context_noise,
            sigma=_replace_rows(noise_sample.sigma, rows, [fixed.sigma for fixed in stored]),
            noise=_replace_rows(noise_sample.noise, rows, [fixed.noise for fixed in stored]),
            drop={
                name: _replace_rows(flags, rows, [f.drop[name] for f in stored])
                for name, flags in noise_sample.drop.items()
            },
            num_context_frames=_replace_rows(
                noise_sample.num_context_frames, rows, [fixed.num_context_frames for fixed in stored]
            ),
        )

    def loss_terms(self, model: WorldModel, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        rows = self._select_stored_rows(batch)
        if not rows:
            return {}
        names = [_sample_name(batch.domain[row], batch.clip_id[row]) for row in rows]
        target = torch.stack([self._targets.sample(self._indices[name]).tensors["velocity"].float() for name in names])
        chosen = torch.tensor(rows, device=prediction.velocity.device)
        errors = velocity_mse(prediction.select(chosen), target.to(chosen.device))
        return {"der": self.weight * errors.sum() / len(batch)}

    def _select_stored_rows(self, batch: Batch) -> list[int]:
        """The replayed samples of the batch that are assigned their stored noise."""
        slots = batch.slot.tolist()
        return [
            row
            for row in batch.is_replay.nonzero()[:, 0].tolist()
            if counter_generator(self._seed, f"der/{batch.step}", slots[row]).random() < 0.5
        ]


def load_or_compute_targets(context: StrategyContext, replay: ReplayBuffer) -> LatentCache:
    """The base's velocity for every sample of the buffer; only missing ones are computed, also after a crash."""
    inputs = [compute_model_digest(context.base), replay.digest(), context.seed, context.continuation_prob]
    key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]
    root = context.folder / "targets"
    if not (root / key / "index.json").exists():
        with LatentCacheWriter(root, key) as writer:
            for sample in _iterate_samples(replay):
                if _sample_name(sample.domain, sample.clip_id) not in writer.stored:
                    writer.add(_compute_target(context, sample))
    return LatentCache(root, key)


def sample_stored_noise(seed: int, name: str, shape: tuple[int, ...], continuation_prob: float) -> NoiseSample:
    """The stored noise (1,...) of a buffer sample, a function of its name and the arguments only."""
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    return sample_noise(seed, number, [_STORED_SLOT], shape, continuation_prob=continuation_prob)


def _compute_target(context: StrategyContext, sample: LatentSample) -> LatentSample:
    name = _sample_name(sample.domain, sample.clip_id)
    latents, cell_weight, conditions = make_single_sample_batch(context.model, sample)
    noise_sample = sample_stored_noise(context.seed, name, latents.shape[1:], context.continuation_prob)
    recording_model = RecordingModel(context.model, cell_weight)
    with torch.no_grad():
        flow_matching_loss(recording_model, latents, cell_weight, conditions, noise_sample)
    velocity = recording_model.prediction.velocity[0].half()
    return LatentSample(clip_id=name, domain=sample.domain, caption="", tensors={"velocity": velocity})


def _iterate_samples(replay: ReplayBuffer) -> Iterator[LatentSample]:
    for domain, size in replay.sizes.items():
        for number in range(size):
            yield replay.sample(domain, number)


def _sample_name(domain: str, clip_id: str) -> str:
    return f"{domain}/{clip_id}"


def _replace_rows(values: Tensor, rows: list[int], replacements: list[Tensor]) -> Tensor:
    """``values`` (B,...) with each of ``rows`` replaced by its (1,...) of ``replacements``."""
    changed = values.clone()
    changed[rows] = torch.cat(replacements).to(values)
    return changed
