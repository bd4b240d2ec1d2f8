"""Arrow schemas inside the JSON of a frame: base64, or null where nobody declared one."""

import pyarrow as pa

from byop.tables.schemas import schema_from_base64, schema_to_base64


def schema_to_text(schema: pa.Schema | None) -> str | None:
    """Return the schema as text."""
    return None if schema is None else schema_to_base64(schema)


def schema_from_text(text: object) -> pa.Schema | None:
    """Return the schema that ``schema_to_text`` wrote.

    Raises:
        InvalidSchemaError: It is not such a text.
    """
    return None if text is None else schema_from_base64(str(text))
