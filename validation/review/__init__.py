"""What a reviewer is shown of a measured clip: a timeline, intervals that stand out in it, and drawn tracks."""
