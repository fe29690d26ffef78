"""What comes before and after a network, as operators of the model: pixels, sound, answers."""
