"""What a build does, one file a stage."""
