"""Retrieval: which picture of a database it was, by an embedding of a brain, text or picture."""
