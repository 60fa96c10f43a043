"""A procedural world with exact geometry: traffic, streets, bodies in motion, and the ray of light that draws them."""
