"""Hydra configuration groups; values only."""
