"""Cutting channels, and the proof that the cut is right."""
