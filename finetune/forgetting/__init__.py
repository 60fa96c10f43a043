"""What a model has forgotten: two models compared clip by clip, a course of models, and the rule of promotion."""
