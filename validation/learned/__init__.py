"""A small network that rates crops of objects for the artifacts of generators."""
