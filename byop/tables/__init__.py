"""One request's data as one Arrow batch, and its forms: Arrow IPC, pandas-records JSON, numpy."""
