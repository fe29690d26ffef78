"""Devices: where a bundle's executable runs: here, under an emulator, or on a board."""
