"""Latents on disk: a cache of encoded clips, in shards that are written once."""
