"""Damaged and unusual inputs, seeded: each is answered rightly or refused in words."""
