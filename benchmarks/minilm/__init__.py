"""MiniLM's embeddings of sentences: how near the int8 program is, and how fast."""
