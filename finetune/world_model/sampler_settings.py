"""How a clip is sampled from noise."""

from dataclasses import dataclass
from typing import Annotated

from driveforge.datasets.errors import UserError
from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerSettings:
    """Sampling steps, noise levels and guidance.

    With ``strength`` below 1 sampling starts at that noise level, from the warped first frames, as in SDEdit
    (Meng et al. 2022, arXiv 2108.01073); without first frames it starts from pure noise. Regions that the warped frames
    do not cover start at the higher ``inpaint_strength`` and take ``inpaint_steps`` down to ``strength`` first, while
    the rest is the warped frames plus noise of the same level (Differential Diffusion, Levin and Fried 2023,
    arXiv 2306.00950). Guidance moves the velocity away from the unconditional one; 1 is no guidance (Ho and Salimans
    2022, arXiv 2207.12598).

    A clip of more than ``chunk_frames`` frames is generated in chunks (``rollout``). ``context_noise`` and
    ``anchor_share`` are for chunks after the first.
    """

    num_steps: Annotated[int, "sampling steps from strength down", Range(1)]
    strength: Annotated[float, "noise level to start at, from the warped first frame; 1 is pure noise", Range(0, 1)]
    inpaint_steps: Annotated[int, "steps before these, in regions that the warped first frame does not cover", Range(0)]
    inpaint_strength: Annotated[float, "noise level to start at in these regions", Range(0, 1)]
    guidance_scale: Annotated[float, "classifier-free guidance scale; 1: no guidance", Range(0)]
    negative_prompt: Annotated[str | None, "caption that guidance steers away from; null: no caption"]
    step_cache: Annotated[
        float,
        "threshold of First Block Cache: a step whose first block changes less reuses the other blocks; 0: off",
        Range(0),
    ]
    tiled_decoding: Annotated[bool, "decode in tiles of 256 pixels, which takes less memory"]
    sigmas: Annotated[tuple[float, ...], "decreasing noise levels in (0, 1], instead of num_steps; []: not used"]
    chunk_frames: Annotated[
        int | None,
        "frames that are generated at once, a longer clip in overlapping chunks; null: as many as in training",
        Range(2),
    ]
    overlap_frames: Annotated[int, "last frames of a chunk that the next chunk continues", Range(1)]
    context_noise: Annotated[
        float, "noise level of these frames as conditions; above 0 only for a model trained with it", Range(0, 1)
    ]
    anchor_share: Annotated[
        float | None,
        "later chunks also see the clip's first frame, warped, if it covers this share of their frames; null: never",
        Range(0, 1),
    ]

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise UserError(f"num_steps must be at least 1, got {self.num_steps}")
        if self.inpaint_steps < 0:
            raise UserError(f"inpaint_steps must not be negative, got {self.inpaint_steps}")
        for name, level in (("strength", self.strength), ("inpaint_strength", self.inpaint_strength)):
            if not 0 < level <= 1:
                raise UserError(f"{name} must be above 0 and at most 1, got {level}")
        if self.overlap_frames < 1 or (self.chunk_frames is not None and self.chunk_frames <= self.overlap_frames):
            raise UserError(
                f"overlap_frames must be at least 1 and fewer than the {self.chunk_frames} chunk_frames, got "
                f"{self.overlap_frames}"
            )
        if not 0 <= self.context_noise < 1:
            raise UserError(f"context_noise must be at least 0 and below 1, got {self.context_noise}")
        if self.guidance_scale < 0:
            raise UserError(f"guidance_scale must not be negative, got {self.guidance_scale}")
        falling = all(a > b for a, b in zip(self.sigmas, self.sigmas[1:], strict=False))
        if self.sigmas and not (falling and self.sigmas[-1] > 0 and self.sigmas[0] <= 1):
            raise UserError(f"sigmas must decrease from at most 1 to above 0, got {list(self.sigmas)}")
