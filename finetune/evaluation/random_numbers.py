"""Random numbers of a probe: functions of the seed, the clip and what they are for, and of nothing else."""

import hashlib

import torch

from driveforge.finetune.evaluation.clips import EvaluationClip


def derive_seed(seed: int, clip: EvaluationClip, purpose: str) -> int:
    """63 bits; the global generators are neither read nor moved."""
    digest = hashlib.sha256(f"{seed}/{clip.domain}/{clip.clip_id}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def make_generator(seed: int, clip: EvaluationClip, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, clip, purpose))
