"""Pretraining by the clock, on clips that renderer processes make while the device trains."""
