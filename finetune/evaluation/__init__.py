"""Evaluation of models on held-out clips of every domain, and paired comparison of models clip by clip."""
