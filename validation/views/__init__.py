"""One camera of a clip, made ready: its pixels, what it was commanded to do, where the commanded boxes lie in it."""
