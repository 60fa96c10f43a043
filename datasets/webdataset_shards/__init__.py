"""What lies in a shard: the samples of a tar, the data card and the Croissant metadata beside them."""
