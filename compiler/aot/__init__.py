"""From a straight list of kernel calls to a program without an interpreter."""
