"""Adapters of the storage ports: metadata, blobs, secrets and the inference log."""
