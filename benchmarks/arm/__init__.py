"""Arm's programs against other engines without a board: the same estimate for all of them."""
