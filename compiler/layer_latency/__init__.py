"""What layers cost on a target as a function of their widths: measured there, or estimated."""
