"""What the use cases need from the world: protocols whose docstrings are the contracts."""
