"""The downstream study: whether perception networks that also train on generated clips become better."""
