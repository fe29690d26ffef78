"""A straight list of kernel calls becomes a program without an interpreter."""
