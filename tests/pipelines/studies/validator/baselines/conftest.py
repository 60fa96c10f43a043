"""The clips of the tests of our measures."""

from tests.validation.conftest import clip, kitti

__all__ = ["clip", "kitti"]
