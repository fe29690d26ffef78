"""Devices by name, and the emulators that stand in for them."""
