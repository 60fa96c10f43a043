"""Metrics between whole sets of clips; each result includes the protocol under which it was computed."""
