"""Measures of how a clip looks: detail that is lost or appears over time, and objects compared with their own views."""
