"""The table of measured register tiles."""
