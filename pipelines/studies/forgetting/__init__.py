"""The forgetting study: how much fine-tuning on driving degrades motion, and how much each strategy recovers."""
