"""Good clips corrupted in one known way and by a known amount, to find out what measures and gates see."""
