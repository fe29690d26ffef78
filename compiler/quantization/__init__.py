"""Ranges, rounding, and the QDQ model they make."""
