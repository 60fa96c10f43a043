"""Training stages: encode, pretrain, fine-tune, evaluate."""
