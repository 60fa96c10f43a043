"""What a model can do on held-out clips of every domain, and what it has forgotten, compared clip by clip."""
