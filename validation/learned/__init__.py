"""A small network that rates crops of objects and of image regions for the artifacts of generators."""
