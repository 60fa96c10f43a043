"""Reports over runs: which conditions pass the gate and at what cost, and which reasons each model is rejected for."""
