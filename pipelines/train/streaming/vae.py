"""Training of a VAE by the clock, on crops of the frames of clips that renderers make meanwhile."""

from collections.abc import Mapping

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from driveforge.datasets.framing import Framing
from driveforge.finetune.training.reconstruction import psnr, reconstruction_loss
from driveforge.finetune.training.strided_vae import make_strided_vae, normalize_latents
from driveforge.finetune.world_model.families.tiny import TinyConfig
from driveforge.finetune.world_model.tiny_vae import initialize_from_pca, make_vae
from driveforge.finetune.world_model.wan_codec import to_vae_input
from driveforge.pipelines.train.settings import PretrainSettings
from driveforge.pipelines.train.streaming.clips import ClipStream
from driveforge.pipelines.train.streaming.learner import Learner
from driveforge.pipelines.train.streaming.renderers import Renderers, start_renderers
from driveforge.pipelines.train.streaming.run import Run, run_by_clock

# One latent frame of the first frame and two of four frames, so that the path over time is trained in its steady state.
_CROP_FRAMES = 9
_CROP_PX = 96
_CROP_STEP_PX = 8
# On the latents in training, in units of their typical size, because generated latents are not exact.
_LATENT_NOISE = 0.05
_EMA_DECAY = 0.99
_STATISTICS_CLIPS = 8
WARMUP_STEPS = 50


def train_vae_by_clock(
    config: TinyConfig, settings: PretrainSettings, framing: Framing, stream: ClipStream, run: Run
) -> tuple[AutoencoderKLWan, list[dict[str, float]]]:
    """A trained VAE, frozen, and its curve. Resumes from ``run.folder``."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings.seed)
    vae = make_strided_vae() if settings.codec == "strided" else make_vae(config.latent_channels, config.patch_size)
    task = VaeTask(vae, settings, device)
    progress = run.resume(task.learners, task.buffers)
    with start_renderers(stream, framing, settings.streaming.renderers, progress.next_world) as renderers:
        task.fill_pool(renderers)
        if settings.codec == "patch" and progress.step == 0:
            task.initialize_from_pca()
        if not run.is_finished(progress):
            run_by_clock(run, task, progress)
        task.learners["vae"].copy_average()
        if settings.codec == "strided":
            normalize_latents(vae, task.recent_frames()[:_STATISTICS_CLIPS])
    return vae.eval().requires_grad_(False).cpu(), progress.curve


class VaeTask:
    """A ``Task`` that trains all weights of a VAE on random crops in space and time."""

    def __init__(self, vae: AutoencoderKLWan, settings: PretrainSettings, device: torch.device) -> None:
        self._vae = vae.to(device).train().requires_grad_(True)
        self._settings = settings
        self._device = device
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._clips: list[Tensor] = []
        self._renderers: Renderers | None = None
        self.samples_per_step = settings.vae_batch_size
        self.learners: Mapping[str, Learner] = self._make_learners()
        self.buffers: Mapping[str, Tensor] = {}

    def _make_learners(self) -> dict[str, Learner]:
        learner = Learner(
            self._vae.parameters(),
            learning_rate=self._settings.vae_learning_rate,
            weight_decay=0.0,
            ema_decay=_EMA_DECAY,
            max_grad_norm=1.0,
        )
        return {"vae": learner}

    def initialize_from_pca(self) -> None:
        """Start from the best linear autoencoder of the clips received so far."""
        initialize_from_pca(self._vae, to_vae_input(self.recent_frames()))
        self.learners = self._make_learners()

    @property
    def next_world(self) -> int:
        assert self._renderers is not None, "renderers are running"
        return self._renderers.next_world

    def fill_pool(self, renderers: Renderers) -> None:
        """Wait for the clips before the first step."""
        self._renderers = renderers
        while len(self._clips) < self._settings.streaming.first_clips:
            self._receive(timeout=None)

    def recent_frames(self) -> Tensor:
        """The latest clips (N,T,H,W,3) uint8."""
        return torch.stack(self._clips[-self._settings.vae_clips :])

    def _receive(self, timeout: float | None) -> None:
        assert self._renderers is not None, "renderers are running"
        batch = self._renderers.take(timeout=timeout, at_least=1)
        if batch is not None:
            self._clips += list(torch.from_numpy(batch.images[:, 0]).to(self._device))
            del self._clips[: -self._settings.vae_clips]

    def step(self, step: int, factor: float) -> dict[str, Tensor]:
        self._receive(timeout=0.0)
        crops = [self._crop() for _ in range(self._settings.vae_batch_size)]
        target = to_vae_input(torch.stack(crops))
        latents = self._vae.encode(target).latent_dist.mode()
        latents = latents + _LATENT_NOISE * latents.detach().std() * torch.randn_like(latents)
        output = self._vae.decode(latents).sample
        loss = reconstruction_loss(output, target)
        gradient = self.learners["vae"].step(loss, factor)
        return {"loss": loss, "gradient": gradient, "psnr": psnr(output.detach(), target)}

    def _crop(self) -> Tensor:
        """A random interval ``(T,H,W,3)`` of a random clip, at most 9 frames of 96 x 96."""
        clip = self._clips[self._random(len(self._clips))]
        frames, height, width = (
            min(size, most) for size, most in zip(clip.shape[:3], (_CROP_FRAMES, _CROP_PX, _CROP_PX), strict=True)
        )
        start = self._random(clip.shape[0] - frames + 1)
        top, left = (
            _CROP_STEP_PX * self._random((size - crop) // _CROP_STEP_PX + 1)
            for size, crop in zip(clip.shape[1:3], (height, width), strict=True)
        )
        return clip[start : start + frames, top : top + height, left : left + width]

    def _random(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self._generator))
