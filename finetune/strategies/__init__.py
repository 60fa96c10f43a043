"""Strategies against catastrophic forgetting: one class each, with one interface."""
