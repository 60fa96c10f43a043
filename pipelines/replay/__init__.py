"""What the verb ``replay`` does: clips into the standing buffer, and a look at what is there."""
