"""What a reviewer is shown of a measured clip: numbers frame by frame, what stands out in them, tracks drawn."""
