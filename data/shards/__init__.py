"""Canonical datasets in webdataset shards, for many machines and object storage."""
