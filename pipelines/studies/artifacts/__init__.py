"""Trains the artifact network on simulated crops, and evaluates it."""
