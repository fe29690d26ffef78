"""The front of what a model can be on a device: searched, measured again, shown, picked from."""
