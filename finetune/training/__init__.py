"""Training: the Lightning module, the fine-tune, checkpoints, ranks and progress."""
