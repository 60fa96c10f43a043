"""The clips that measures of ours are tested on."""

from tests.validation.conftest import clip, kitti

__all__ = ["clip", "kitti"]
