"""The command ``nightly``: one pass from new data to a promoted or refused model, clips and a report."""
