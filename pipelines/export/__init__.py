"""The export stage: accepted clips in the formats that trainers read."""
