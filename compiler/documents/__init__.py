"""Progress and JSON documents, for people and for programs."""
