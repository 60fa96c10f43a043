"""The command replay: clips into the persistent buffer, and a look at what is there."""
