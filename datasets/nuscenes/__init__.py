"""nuScenes tables as scenes: poses, boxes, lanes and frames, checked for what cannot be right in them."""
