"""Register tiles, measured or estimated on the target."""
