"""The rows of ``validation/catalog.py``, by family."""
