"""What happens to the sums of a layer before they are stored."""
