"""Generation of candidate clips: requests, work units, commits and executors."""
