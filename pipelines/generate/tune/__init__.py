"""The search for sampler settings: a grid of settings, each with the same clips, judged by the gate and timed."""
