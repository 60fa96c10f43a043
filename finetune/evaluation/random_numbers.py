"""Random numbers of an evaluation, as functions of the seed, the clip and the purpose only."""

import hashlib

import torch

from driveforge.finetune.evaluation.clips import EvaluationClip


def derive_seed(seed: int, clip: EvaluationClip, purpose: str) -> int:
    """A seed of 63 bits; the global generators are not used."""
    digest = hashlib.sha256(f"{seed}/{clip.domain}/{clip.clip_id}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def make_generator(seed: int, clip: EvaluationClip, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, clip, purpose))
