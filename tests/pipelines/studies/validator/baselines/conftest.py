"""The clips of the tests of driveforge's measures."""

from tests.validation.conftest import clip, kitti

__all__ = ["clip", "kitti"]
