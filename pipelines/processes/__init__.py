"""Processes of a command: workers, signals, threads, and none of them left behind."""
