"""Plans: which clips a run requests, made from scenes x edits x seeds, and shown before anything is generated."""
