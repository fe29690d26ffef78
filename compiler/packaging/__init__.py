"""What a bundle holds besides the program."""
