"""A day of a program with several operating points: replayed, scored, drawn."""
