"""Reading nuScenes tables as scenes, with consistency checks, and writing scenes as nuScenes tables."""
