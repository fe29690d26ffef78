"""From the graph to a program: a kernel for each operation."""
