"""World-model families, one module each."""
