"""First Block Cache of diffusers: sampling steps that change little reuse the transformer blocks of an earlier step.

The residual of the first block tells how much a step changes; below the threshold, the output of the other blocks is
that of the last step that ran them (ParaAttention, https://github.com/chengzeyi/ParaAttention).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from driveforge.datasets.errors import UserError
from driveforge.finetune.world_model.sampler_settings import SamplerSettings

if TYPE_CHECKING:
    from driveforge.finetune.world_model.model import WorldModel


@contextmanager
def step_cache_enabled(model: "WorldModel", settings: SamplerSettings) -> Iterator[None]:
    """The cache for one clip, if ``settings.step_cache`` is above 0. Raises UserError if the family has none."""
    if settings.step_cache == 0:
        yield
        return
    from diffusers import FirstBlockCacheConfig
    from diffusers.models.cache_utils import CacheMixin

    transformers = list(model.transformers.values())
    if not all(isinstance(transformer, CacheMixin) for transformer in transformers):
        raise UserError("generate.sampler.step_cache: the model's family has no step cache in diffusers; set it to 0")
    for transformer in transformers:
        transformer.enable_cache(FirstBlockCacheConfig(threshold=settings.step_cache))
    try:
        yield
    finally:
        for transformer in transformers:
            transformer.disable_cache()


@contextmanager
def step_cache_context(model: "WorldModel", name: str, settings: SamplerSettings) -> Iterator[None]:
    """The state of the cache for passes with or without conditions, which must not be mixed."""
    if settings.step_cache == 0:
        yield
        return
    with ExitStack() as stack:
        for transformer in model.transformers.values():
            stack.enter_context(transformer.cache_context(name))
        yield
