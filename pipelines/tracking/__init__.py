"""MLflow tracking: one run per run folder, an outbox for calls to an unreachable server, and the store."""
