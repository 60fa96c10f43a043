"""MLflow: one run a run folder, calls that wait for a server, and where the store is."""
