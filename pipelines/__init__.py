"""The stages from driving data to shards, and the command line over them."""
