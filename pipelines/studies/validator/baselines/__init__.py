"""Published measures of a clip, as baselines for our own measures in the validator study. The gate ignores them."""
