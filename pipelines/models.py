"""Where a model is: the checkpoint that ships with the project, or a folder of the user's."""

from pathlib import Path

from datasets.errors import UserError
from pipelines.config import ModelConfig

BASE = Path(__file__).parent.parent / "finetune" / "base"


def checkpoint_of(model: ModelConfig) -> Path:
    """The folder of ``model.checkpoint``; a UserError where it holds no world model."""
    folder = BASE if model.checkpoint == "base" else Path(model.checkpoint)
    if not (folder / "world_model.json").is_file():
        raise UserError(
            f"model.checkpoint={model.checkpoint}: {folder} holds no world_model.json; use base or a saved model"
        )
    return folder
