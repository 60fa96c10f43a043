"""What others measure of a clip, to be run beside our own measures in a study of validators. No gate judges by it."""
