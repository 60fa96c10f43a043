"""Measures of each object against its commanded box: its motion, its appearance and its identity."""
