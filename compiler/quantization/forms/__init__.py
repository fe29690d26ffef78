"""Operators without an integer form, written in operators that have one; used when quantizing."""
