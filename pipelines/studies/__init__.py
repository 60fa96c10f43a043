"""Studies: reproducible experiments, each with a page of results."""
