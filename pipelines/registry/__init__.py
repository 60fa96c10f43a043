"""Models: where one is, the versions and aliases in the registry, promotion and rollback."""
