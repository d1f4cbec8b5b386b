"""Retrieval: which picture of a database was it, by an embedding of a brain, a text or a picture."""
