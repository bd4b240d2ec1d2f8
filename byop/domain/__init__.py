"""Nouns and rules of byop: frozen dataclasses, no I/O."""
