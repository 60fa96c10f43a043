"""What a command is told: the records of its settings, composed from ``conf/`` and the command line."""
