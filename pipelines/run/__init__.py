"""The commands that run all stages one after another: ``run`` and ``demo``."""
