"""Points followed through a view. Lucas-Kanade needs nothing; learned trackers are plugged in from local files."""
