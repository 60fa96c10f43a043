"""What lies at a path that a user names: sources of clips, single clips, licenses, instruments."""
