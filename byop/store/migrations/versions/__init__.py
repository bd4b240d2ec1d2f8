"""Revisions, oldest first. A published one never changes."""
