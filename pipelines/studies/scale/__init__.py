"""How generation scales: a simulation of 1 to 1,000 GPUs over a week, checked against real sleeping actors."""
