"""What is asked of the generator, in units of work, and the candidates that came of it."""
