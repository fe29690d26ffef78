"""What a model or a program computes, and how fast, held against a reference."""
