"""What makes a program of the graph: a kernel for each operation."""
