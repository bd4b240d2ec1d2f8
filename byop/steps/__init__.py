"""Walking a pipeline: one module per kind of step."""
