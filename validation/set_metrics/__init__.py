"""Measures of whole sets of clips against one another; each is told together with the protocol it was taken under."""
