"""Files that other programs cannot tear: atomic writes, locks, new folders, digests, validated JSON."""
