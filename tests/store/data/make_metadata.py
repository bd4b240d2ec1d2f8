"""Make metadata-v1.sqlite3: run from the root as ``python -m tests.store.data.make_metadata``.

A kept database is never made again: a new schema gets a new file beside the old ones.
"""

import sqlite3
from pathlib import Path

from byop.store.metadata import SqlMetadataStore
from byop.store.secrets import AesGcmSecretBox
from tests.store.metadata_filling import fill

path = Path(__file__).with_name("metadata-v1.sqlite3")
if path.exists():
    raise SystemExit(f"{path} is kept as it is")
store = SqlMetadataStore(f"sqlite:///{path}", secrets=AesGcmSecretBox(bytes(32)))
fill(store)
store.close()
connection = sqlite3.connect(path)
connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
connection.execute("VACUUM")
connection.close()
path.chmod(0o644)
