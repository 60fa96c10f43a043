"""The forgetting study: what fine-tuning on driving costs in motion, and what each remedy gives back."""
