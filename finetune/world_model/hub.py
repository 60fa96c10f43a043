"""Checkpoints from the Hugging Face Hub."""

import re
from pathlib import Path

from driveforge.datasets.errors import UserError, shorten


def is_hub_name(checkpoint: str) -> bool:
    """Whether ``checkpoint`` has the form of a repository, OWNER/NAME."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", checkpoint) is not None


def download(name: str) -> Path:
    """The folder of a repository, from the local cache of the hub or downloaded; only configurations and safetensors.

    Raises UserError if it is neither in the cache nor reachable.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"]))
    except Exception as error:
        raise UserError(
            f"model.checkpoint={name} is no folder here, and cannot be downloaded from the Hugging Face Hub "
            f"({shorten(error, 100)}); give a folder"
        ) from error
