"""Training stages: cache latents, pretrain, fine-tune, evaluate."""
