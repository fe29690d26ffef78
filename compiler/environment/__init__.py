"""What this machine has: compilers, emulators, libraries."""
