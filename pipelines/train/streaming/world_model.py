"""Training of the world model by the clock, and of its VAE's decoder beside it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from driveforge.datasets.framing import Framing
from driveforge.finetune.strategies.strategy import RecordingModel
from driveforge.finetune.training.reconstruction import psnr
from driveforge.finetune.world_model.captions import CAPTION_TOKENS
from driveforge.finetune.world_model.clip_tensors import MASK_CHANNELS, RAY_CHANNELS, ConditionMask
from driveforge.finetune.world_model.codec import count_latent_frames
from driveforge.finetune.world_model.conditions import Conditions
from driveforge.finetune.world_model.families.tiny import TinyWorldModel
from driveforge.finetune.world_model.flow import flow_matching_loss
from driveforge.finetune.world_model.preconditioning import estimate_latent_std
from driveforge.finetune.world_model.wan_codec import WanCodec, to_vae_input
from driveforge.pipelines.train.settings import PretrainSettings
from driveforge.pipelines.train.streaming.clips import ClipStream
from driveforge.pipelines.train.streaming.decoder import decoder_loss, decoder_parameters, draw_decoder_inputs
from driveforge.pipelines.train.streaming.draws import draw_noise
from driveforge.pipelines.train.streaming.learner import Learner
from driveforge.pipelines.train.streaming.pool import LatentPool
from driveforge.pipelines.train.streaming.renderers import Renderers, start_renderers
from driveforge.pipelines.train.streaming.run import Run, run_by_clock
from driveforge.pipelines.train.streaming.slots import CELL_PX
from driveforge.pipelines.train.streaming.whole_clips import decode_clips

_STATISTICS_CLIPS = 140
# Samples drawn per clip that is added. Encoding a clip costs half as much as training on it, so where clips are made as
# fast as samples are trained on, as on two cores, renderers have to wait. One GPU sees each clip some 36 times.
MIN_VISITS = 4


def train_world_model_by_clock(
    model: TinyWorldModel, settings: PretrainSettings, framing: Framing, stream: ClipStream, run: Run, *, is_new: bool
) -> list[dict[str, float]]:
    """Train ``model`` and its decoder in place, to their averages; returns the curve. Resumes from ``run.folder``.

    If ``is_new``, the statistics of the preconditioning are estimated from the first clips.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = WorldModelTask(model, settings, device)
    progress = run.resume(task.learners, task.buffers)
    if not run.is_finished(progress):
        with start_renderers(stream, framing, settings.streaming.renderers, progress.next_world) as renderers:
            if settings.compile:
                task.warm_up(framing)
            task.fill_pool(renderers)
            if is_new and progress.step == 0:
                task.estimate_statistics()
            run_by_clock(run, task, progress)
    for learner in task.learners.values():
        learner.copy_average()
    task.codec.vae.requires_grad_(False).eval()
    task.codec.to("cpu")
    model.eval().cpu()
    return progress.curve


class WorldModelTask:
    """A ``Task`` that draws batches from a pool of clips, which ``fill_pool`` connects to renderers."""

    def __init__(self, model: TinyWorldModel, settings: PretrainSettings, device: torch.device) -> None:
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True
        self._model = model.to(device).train()
        assert isinstance(model.codec, WanCodec)
        self.codec = model.codec
        self.codec.to(device)
        if settings.compile:
            model.compile_blocks()
        self._settings = settings
        self._device = device
        self.samples_per_step = settings.batch_size
        self.learners: Mapping[str, Learner] = self._make_learners()
        self.buffers: Mapping[str, Tensor] = {"latent_std": model.latent_std}
        self.pool = LatentPool(self.codec, settings.streaming.pool_clips, model.domains, device)
        self._generator = torch.Generator(device).manual_seed(settings.seed)
        self._renderers: Renderers | None = None
        self._num_drawn = 0
        self._num_first = 0

    def _make_learners(self) -> dict[str, Learner]:
        settings, streaming = self._settings, self._settings.streaming
        learners = {
            "world model": Learner(
                self._model.parameters(),
                learning_rate=settings.learning_rate,
                weight_decay=settings.weight_decay,
                ema_decay=settings.ema_decay,
                max_grad_norm=settings.max_grad_norm,
            )
        }
        if streaming.decoder_every:
            parameters = decoder_parameters(self.codec.vae)
            for parameter in parameters:
                parameter.requires_grad_(True)
            learners["decoder"] = Learner(
                parameters,
                learning_rate=streaming.decoder_learning_rate,
                weight_decay=0.0,
                ema_decay=settings.ema_decay,
                max_grad_norm=settings.max_grad_norm,
            )
        return learners

    @property
    def next_world(self) -> int:
        assert self._renderers is not None, "renderers are running"
        return self._renderers.next_world

    def warm_up(self, framing: Framing) -> None:
        """Compile, while the renderers make the first clips: one step on zeros, without an update."""
        batch, z = self._settings.batch_size, self._model.config.latent_channels
        frames = count_latent_frames(framing.num_frames, self.codec.temporal_stride)
        grid = (frames, framing.height // CELL_PX, framing.width // CELL_PX)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(batch, *shape, device=self._device)

        conditions = Conditions(
            warped=zeros(z, *grid),
            layout=zeros(z, *grid),
            mask=ConditionMask.from_channels(zeros(MASK_CHANNELS, *grid)),
            rays=zeros(self.codec.temporal_stride * RAY_CHANNELS, *grid),
            domain=zeros().long(),
            text=zeros(CAPTION_TOKENS).long(),
            empty_text=zeros(CAPTION_TOKENS)[0].long(),
        )
        with self._autocast():
            velocity = self._model(zeros(z, *grid), zeros() + 0.5, conditions)
        velocity.square().mean().backward()
        self._model.zero_grad(set_to_none=True)

    def fill_pool(self, renderers: Renderers) -> None:
        """Wait for the clips before the first step."""
        self._renderers = renderers
        while len(self.pool) < self._settings.streaming.first_clips:
            batch = renderers.take(timeout=None, at_least=1)
            assert batch is not None, "without a timeout, clips arrive"
            self.pool.add(batch)
        self._num_first = self.pool.num_added

    @torch.no_grad()
    def estimate_statistics(self) -> None:
        """Set the model's preconditioning to the statistics of the clips in the pool."""
        clips = self.pool.select(torch.arange(min(len(self.pool), _STATISTICS_CLIPS), device=self._device))
        std = estimate_latent_std(clips.latents, clips.conditions.warped, clips.conditions.mask)
        self._model.latent_std.copy_(std)

    def step(self, step: int, factor: float) -> dict[str, Tensor]:
        self._receive()
        batch = self.pool.draw(self._settings.batch_size, self._generator)
        self._num_drawn += self._settings.batch_size
        noise_sample = draw_noise(
            batch.latents,
            self._generator,
            continuation_prob=self._settings.continuation_prob,
            max_context_noise=self._settings.context_noise,
            high_noise_share=self._settings.streaming.high_noise_share,
            distribution=self._model.noise_distribution,
        )
        recording = RecordingModel(self._model, batch.cell_weight)
        with self._autocast():
            losses = flow_matching_loss(recording, batch.latents, batch.cell_weight, batch.conditions, noise_sample)
        loss = losses.mean()
        values = {"loss": loss, "gradient": self.learners["world model"].step(loss, factor)}
        every = self._settings.streaming.decoder_every
        if every and step % every == 0:
            values |= self._decoder_step(batch.latents, batch.rows, recording, factor)
        return values

    def _receive(self) -> None:
        """Add finished clips to the pool, unless those in it were hardly drawn."""
        assert self._renderers is not None, "renderers are running"
        num_added = self.pool.num_added - self._num_first
        if self._num_drawn >= MIN_VISITS * num_added and (rendered := self._renderers.take()):
            self.pool.add(rendered)

    def _decoder_step(
        self, latents: Tensor, rows: Tensor, recording: RecordingModel, factor: float
    ) -> dict[str, Tensor]:
        count = self._settings.streaming.decoder_clips
        inputs, chosen = draw_decoder_inputs(latents, recording.prediction, count, self._generator)
        target = to_vae_input(self.pool.frames(rows[chosen]))
        output = decode_clips(self.codec, inputs)
        self.learners["decoder"].step(decoder_loss(output, target), factor)
        return {"decoder_dB": psnr(output.detach(), target)}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._settings.precision == "bf16")
