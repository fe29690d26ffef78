"""What a model or a program computes, held against a reference."""
