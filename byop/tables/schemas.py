"""Schemas as text: base64 of the IPC message (REST API, seed 001) and type names (model.toml)."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa

from byop.errors import InvalidSchemaError

MAX_DEPTH = 64
"""Nesting beyond this is refused: 50,000 levels crash Arrow (docs/security.md, B8)."""

MAX_COLUMNS = 10_000
"""Columns of a table, and fields of a type, beyond this are refused unless a setting says so."""

_MAX_SCHEMA_BYTES = 4 << 20

_SHOWN = 200
_NAMED: Mapping[str, pa.DataType] = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "large_string": pa.large_string(),
    "binary": pa.binary(),
    "large_binary": pa.large_binary(),
    "date32": pa.date32(),
}
_ARROW_SPELLINGS: Mapping[str, str] = {
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
    "utf8": "string",
    "date32[day]": "date32",
}
_NAMES: Mapping[pa.DataType, str] = {kind: name for name, kind in _NAMED.items()}
_TOKEN = re.compile(
    r"\s*(?:(?P<quoted>\"(?:[^\"\\]|\\.)*\")|(?P<word>[A-Za-z_][\w.\-/]*)|(?P<number>\d+)"
    r"|(?P<mark>[<>\[\]:,=]))"
)


def require_serializable(schema: pa.Schema) -> None:
    """Check that no type nests so deep that Arrow would crash while it writes the schema.

    Raises:
        InvalidSchemaError: One does.
    """
    for kind in schema.types:
        if kind.num_fields:
            _require_depth(kind)


def schema_to_base64(schema: pa.Schema) -> str:
    """Return base64 of the schema's IPC message.

    Raises:
        InvalidSchemaError: It nests too deep to be serialised.
    """
    require_serializable(schema)
    return base64.b64encode(schema.serialize()).decode("ascii")


def schema_from_base64(text: str) -> pa.Schema:
    """Return the schema that base64 text holds, without its metadata.

    Raises:
        InvalidSchemaError: No base64, no Arrow schema, or one that byop cannot carry.
    """
    if len(text) > _MAX_SCHEMA_BYTES:
        raise InvalidSchemaError(f"a schema of {len(text)} characters is too long")
    try:
        message = base64.b64decode("".join(text.split()), validate=True)
        schema = pa.ipc.read_schema(pa.py_buffer(message))
    except (binascii.Error, ValueError, pa.ArrowException, OSError) as error:
        raise InvalidSchemaError(
            f"not an Arrow schema in base64: {error}. Send base64 of schema.serialize()"
        ) from error
    return checked_schema(schema.remove_metadata())


def schema_from_mapping(columns: Mapping[str, str]) -> pa.Schema:
    """Return the schema of ``{"text": "string", ...}``; see ``parse_type`` for the types."""
    fields = [_Parser(text).read_column(name) for name, text in columns.items()]
    return checked_schema(pa.schema(fields))


def checked_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema when its columns have names of their own and no type nests too deep."""
    if len(schema) > MAX_COLUMNS:
        raise InvalidSchemaError(f"{len(schema)} columns are more than {MAX_COLUMNS}")
    seen: set[str] = set()
    for field in schema:
        if field.name in seen:
            raise InvalidSchemaError(f"column {field.name!r} is declared twice")
        seen.add(field.name)
        _require_depth(field.type)
    return schema


def parse_type(text: str) -> pa.DataType:
    """Return the type that text names.

    ``int64``, ``float32``, ``string``, ``bool``, ``binary``, ``date32``, ``timestamp[ms]``,
    ``timestamp[us, UTC]``, ``list<T>``, ``large_list<T>``, ``list<T>[29]`` (every list has 29
    items), ``struct<name: T, ...>``, to any depth; `` not null`` may follow a T. The spellings of
    ``str(pa.DataType)`` are read too.

    Raises:
        InvalidSchemaError: The text names no type.
    """
    return _Parser(text).read_whole()


def format_type(kind: pa.DataType) -> str:
    """Return the name that ``parse_type`` reads; Arrow's own name for types that it does not."""
    return _format(kind, MAX_DEPTH)


def format_field(field: pa.Field) -> str:
    """Return the name of the field's type, with `` not null`` when it takes no nulls."""
    return format_type(field.type) + ("" if field.nullable else " not null")


def _format(kind: pa.DataType, depth: int) -> str:
    if depth == 0:
        return "..."
    if isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        word = "large_list" if isinstance(kind, pa.LargeListType) else "list"
        size = f"[{kind.list_size}]" if isinstance(kind, pa.FixedSizeListType) else ""
        return f"{word}<{_format_nested(kind.value_field, depth)}>{size}"
    if isinstance(kind, pa.StructType):
        fields = (f"{_quoted(field.name)}: {_format_nested(field, depth)}" for field in kind)
        return f"struct<{', '.join(fields)}>"
    if isinstance(kind, pa.TimestampType):
        return (
            f"timestamp[{kind.unit}]" if kind.tz is None else f"timestamp[{kind.unit}, {kind.tz}]"
        )
    return _NAMES.get(kind) or str(kind)


def _format_nested(field: pa.Field, depth: int) -> str:
    return _format(field.type, depth - 1) + ("" if field.nullable else " not null")


def _quoted(name: str) -> str:
    found = _TOKEN.fullmatch(name)
    return name if found is not None and found["word"] == name else json.dumps(name)


def _require_depth(kind: pa.DataType) -> None:
    level: list[pa.DataType] = [kind]
    fields = 0
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in type_children(parent)]
        fields += len(level)
        if not level:
            return
        if fields > MAX_COLUMNS:
            raise InvalidSchemaError(f"a type has more than {MAX_COLUMNS} fields")
    raise InvalidSchemaError(f"a type nests deeper than {MAX_DEPTH} levels")


def type_children(kind: pa.DataType) -> Iterator[pa.DataType]:
    """Yield the types that a type is made of, one level below it."""
    for position in range(kind.num_fields):
        yield kind.field(position).type


class _Parser:
    """Reads one type text, token by token."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._depth = 0

    def read_whole(self) -> pa.DataType:
        kind = self._read_type()
        self._require_end()
        return kind

    def read_column(self, name: str) -> pa.Field:
        kind = self._read_type()
        nullable = not self._skip_not_null()
        self._require_end()
        return pa.field(name, kind, nullable=nullable)

    def _read_type(self) -> pa.DataType:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidSchemaError(f"a type nests deeper than {MAX_DEPTH} levels")
        name = self._take("word")
        nested: Mapping[str, Callable[[], pa.DataType]] = {
            "list": self._read_list,
            "fixed_size_list": self._read_list,
            "large_list": self._read_large_list,
            "struct": self._read_struct,
            "timestamp": self._read_timestamp,
        }
        kind = nested[name]() if name in nested else self._read_named(name)
        self._depth -= 1
        return kind

    def _read_named(self, name: str) -> pa.DataType:
        if name == "date32" and self._skip("["):
            self._expect("day", "]")
        kind = _NAMED.get(_ARROW_SPELLINGS.get(name, name))
        if kind is None:
            raise self._error(f"{name!r} is no type")
        return kind

    def _read_list(self) -> pa.DataType:
        item = self._read_item()
        if not self._skip("["):
            return pa.list_(item)
        size = int(self._take("number"))
        self._expect("]")
        if size > 2**31 - 1:
            raise self._error(f"{size} items are too many")
        return pa.list_(item, size)

    def _read_large_list(self) -> pa.DataType:
        return pa.large_list(self._read_item())

    def _read_item(self) -> pa.Field:
        self._expect("<")
        self._skip_item_name()
        kind = self._read_type()
        nullable = not self._skip_not_null()
        self._expect(">")
        return pa.field("item", kind, nullable=nullable)

    def _read_struct(self) -> pa.DataType:
        self._expect("<")
        fields: list[pa.Field] = []
        while not self._skip(">"):
            if fields:
                self._expect(",")
            name = self._take_name()
            self._expect(":")
            kind = self._read_type()
            fields.append(pa.field(name, kind, nullable=not self._skip_not_null()))
        return pa.struct(fields)

    def _read_timestamp(self) -> pa.DataType:
        self._expect("[")
        unit = self._take("word")
        if unit not in {"s", "ms", "us", "ns"}:
            raise self._error(f"{unit!r} is no unit of time")
        zone = None
        if self._skip(","):
            self._skip("tz")
            self._skip("=")
            zone = self._take_zone()
        self._expect("]")
        return pa.timestamp(unit, tz=zone)

    def _take_zone(self) -> str:
        found = re.compile(r"\s*([\w/+\-:]+)").match(self._text, self._position)
        if found is None:
            raise self._error("a time zone is missing")
        self._position = found.end()
        return found[1]

    def _skip_item_name(self) -> None:
        found = re.compile(r"\s*\w+\s*:").match(self._text, self._position)
        if found is not None:
            self._position = found.end()

    def _skip_not_null(self) -> bool:
        if not self._skip("not"):
            return False
        self._expect("null")
        return True

    def _skip(self, token: str) -> bool:
        found = _TOKEN.match(self._text, self._position)
        if found is None or found[0].strip() != token:
            return False
        self._position = found.end()
        return True

    def _expect(self, *tokens: str) -> None:
        for token in tokens:
            if not self._skip(token):
                raise self._error(f"{token!r} is missing")

    def _take(self, group: str) -> str:
        found = _TOKEN.match(self._text, self._position)
        if found is None or found[group] is None:
            raise self._error(f"a {group} is missing")
        self._position = found.end()
        return found[group]

    def _take_name(self) -> str:
        found = _TOKEN.match(self._text, self._position)
        if found is not None and found["quoted"] is not None:
            self._position = found.end()
            return str(json.loads(found["quoted"]))
        return self._take("word")

    def _require_end(self) -> None:
        if self._text[self._position :].strip():
            raise self._error("there is more than one type")

    def _error(self, why: str) -> InvalidSchemaError:
        shown = self._text if len(self._text) <= _SHOWN else self._text[:_SHOWN] + "..."
        return InvalidSchemaError(
            f"{shown!r} is no type: {why} at character {self._position + 1}. "
            "Write for instance string, int64 or list<float32>[29]"
        )
