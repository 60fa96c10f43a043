"""Estimates of memory and time of a fine-tune and of generation, before anything is spent."""
