"""Power: sensors of energy, one file each, and what they say of a run.

`choose("auto")` is the best sensor of this machine. Never a guess: without a sensor there are no
joules, only the reason why not.
"""
