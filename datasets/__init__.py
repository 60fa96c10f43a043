"""Driving data as Scenes and Clips: the sources, the simulated world, the latent cache and the shard format."""
