"""DTLN's suppression of noise: how near the int8 program is, and how fast."""
