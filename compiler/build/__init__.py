"""What leads from a request to bundles: the chain of stages and its measurements."""
