"""A procedural simulator with exact ground truth: traffic, streets, moving bodies and a renderer."""
