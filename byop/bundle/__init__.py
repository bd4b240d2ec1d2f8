"""Model projects: folder <-> zip. Empty, since workers import ``byop.bundle.loading``."""
