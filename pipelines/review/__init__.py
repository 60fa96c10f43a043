"""The review of a run: a page with every clip, the decisions of reviewers, and what they tell about the gate."""
