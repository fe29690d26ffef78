"""Compiled code in memory where every access outside of what it was given is seen."""
