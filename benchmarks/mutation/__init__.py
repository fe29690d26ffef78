"""Mutation tests: faults are put into the code, one at a time, and the tests should notice.

Cosmic Ray makes the faults; this chooses some of them, and for each the tests that run its line.
"""
