"""The command replay: add clips to the persistent buffer, inspect, verify and remove them."""
