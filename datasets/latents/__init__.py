"""Cache of encoded clips on disk, in write-once shards."""
