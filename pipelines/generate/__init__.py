"""From scenes to candidate clips: requests, units of work, commits, executors."""
