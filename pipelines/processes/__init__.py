"""Processes of a command: parallel maps, signals, threads, and cleanup of child processes."""
