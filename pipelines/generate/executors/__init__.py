"""Who makes the units: this process, or Ray actors on many machines."""
