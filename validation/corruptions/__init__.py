"""Controlled corruptions of good clips, each of one type and strength, to test measures and gates."""
