"""The engine: stages, artifacts, and the store that keeps them."""
