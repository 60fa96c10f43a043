"""The configuration: settings records composed from ``conf/`` and the command line."""
