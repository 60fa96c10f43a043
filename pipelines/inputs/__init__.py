"""The inputs of the commands: sources of clips, clips under a path, their licenses, and measuring instruments."""
