"""Who is champion: the versions and aliases in the registry, and what is said of a promotion."""
