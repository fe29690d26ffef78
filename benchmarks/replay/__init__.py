"""Process replay: what two revisions of the compiler make of the same models, kernel by kernel."""
