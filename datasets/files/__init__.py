"""Atomic writes, locks, atomic folders, digests and validated JSON records."""
