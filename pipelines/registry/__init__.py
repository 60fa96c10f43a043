"""The model registry: checkpoints, versions and aliases in MLflow, promotion and rollback."""
