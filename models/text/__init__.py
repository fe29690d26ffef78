"""Text before a network: vocabularies, Unicode as BERT's tokenizer sees it, and the tokens."""
