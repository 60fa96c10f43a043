"""Executors of work units: local worker processes, or Ray actors."""
