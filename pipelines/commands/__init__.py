"""The commands of the command line: their help texts, arguments, and the settings that they read."""
