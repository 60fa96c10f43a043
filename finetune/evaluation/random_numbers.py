"""Random numbers of a probe: functions of the seed, the clip and what they are for, and of nothing else."""

import hashlib

import torch

from driveforge.finetune.evaluation.clips import ProbeClip


def seed_of(seed: int, clip: ProbeClip, purpose: str) -> int:
    """63 bits; the global generators are neither read nor moved."""
    digest = hashlib.sha256(f"{seed}/{clip.domain}/{clip.clip_id}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_of(seed: int, clip: ProbeClip, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(seed, clip, purpose))
