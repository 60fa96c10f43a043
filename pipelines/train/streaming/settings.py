"""Settings of pretraining by the clock."""

from dataclasses import dataclass
from typing import Annotated

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamingSettings:
    """Rendering beside training, and training of the decoder; used if ``pretrain.minutes`` is set."""

    renderers: Annotated[int | None, "processes that render clips; null: all cores but one", Range(1)]
    pool_clips: Annotated[int, "latest clips that are kept encoded on the device, with mirror images", Range(2)]
    first_clips: Annotated[int, "clips in the pool before training starts", Range(2)]
    vae_minutes: Annotated[float, "minutes of training of the VAE, if pretrain.start is null", Range(0)]
    high_noise_share: Annotated[float, "share of commanded samples at noise levels of 0.97 to 1", Range(0, 1)]
    decoder_every: Annotated[int, "optimizer steps per step of the VAE's decoder; 0: it is not trained", Range(0)]
    decoder_clips: Annotated[int, "clips in a batch of the decoder", Range(1)]
    decoder_learning_rate: Annotated[float, "peak learning rate of the decoder", Range(0)]
    checkpoint_minutes: Annotated[float, "minutes between checkpoints", Range(0)]
