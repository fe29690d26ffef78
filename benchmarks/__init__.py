"""Measurements against other engines; not part of what is installed on a device."""
