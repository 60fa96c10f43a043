"""Point tracking through a view. Lucas-Kanade needs no weights; learned trackers are loaded from local files."""
