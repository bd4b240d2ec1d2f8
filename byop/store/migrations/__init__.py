"""The way of the metadata database to today's tables, one module per revision."""
