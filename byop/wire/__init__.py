"""JSON shapes of the REST API, shared by server and client."""
