"""Fitting a module to data, and its parts."""
