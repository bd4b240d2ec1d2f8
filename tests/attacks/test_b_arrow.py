"""Group B: Arrow bodies of a real server, and schemas on both sides (docs/security.md)."""

import base64
import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from byop.errors import InvalidSchemaError
from byop.tables.schemas import parse_type, schema_from_base64
from tests.attacks.hostile_requests import ARROW_FILE, ROW, SCHEMA, Target, running_target

pytestmark = pytest.mark.registry

_MIB = 1 << 20
_GROWTH_BYTES = 16 * _MIB
"""What a refused bomb may add to the server: far less than a thousandth of what it stands for."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_target(tmp_path_factory.mktemp("arrow")) as running:
        yield running


def written(
    batch: pa.RecordBatch,
    new: Callable[..., Any] = pa.ipc.new_file,
    *,
    copies: int = 1,
    compression: str | None = None,
) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression, allow_64bit=True)
    with new(sink, batch.schema, options=options) as writer:
        for _ in range(copies):
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def nested_type(depth: int) -> pa.DataType:
    kind = pa.int8()
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind


def good_batch() -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([ROW, {**ROW, "text": "wörld" * 9}], schema=SCHEMA)


@pytest.mark.parametrize("depth", [65, 130])
def test_b07_deep_types_are_refused(target: Target, depth: int) -> None:
    schema = pa.schema([("text", nested_type(depth))])
    for new in (pa.ipc.new_file, pa.ipc.new_stream):
        sink = pa.BufferOutputStream()
        with new(sink, schema):
            pass
        answer = target.infer_arrow(sink.getvalue())
        assert (answer.status, answer.kind) == (400, "invalid_payload")
    target.require_serving()


_DEEP = """
import pyarrow as pa
from byop.client.payloads import encode_tensor
from byop.client.upload import Upload
from byop.errors import InvalidSchemaError
from byop.tables.schemas import schema_to_base64

kind = pa.int8()
for level in range(50_000):
    kind = pa.list_(kind)
    if level == 100:
        table = pa.table({"x": pa.nulls(0, kind)})
schema = pa.schema([("x", kind)])
for refuse in (
    lambda: schema_to_base64(schema),
    lambda: Upload("x", 1, "custom", input_schema=schema).metadata(),
    lambda: encode_tensor(table),
):
    try:
        refuse()
    except InvalidSchemaError as error:
        print(error)
"""


def test_b08_a_schema_50_000_deep_crashes_no_client() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DEEP], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nests deeper than 64 levels") == 3


def test_b08_a_schema_50_000_deep_crashes_no_server(target: Target) -> None:
    deep = "list<" * 50_000 + "int8" + ">" * 50_000
    with pytest.raises(InvalidSchemaError, match="nests deeper than 64"):
        parse_type(deep)
    for depth in (65, 120):
        message = pa.schema([("x", nested_type(depth))]).serialize().to_pybytes()
        text = base64.b64encode(message).decode()
        metadata = {"name": "deep", "workspace_id": 1, "input_schema": text}
        metadata["conversion"] = {"framework": "custom"}
        answer = target.upload(json.dumps(metadata).encode())
        assert (answer.status, answer.kind) == (400, "invalid_schema")
    target.require_serving()


@pytest.mark.parametrize("fields", [10_001, 100_000])
def test_b09_too_many_fields_are_refused(target: Target, fields: int) -> None:
    flat = pa.schema([(f"c{n}", pa.int8()) for n in range(fields)])
    inside = pa.schema([("text", pa.struct(list(flat)))])
    for schema in (flat, inside):
        batch = pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)
        answer = target.infer_arrow(written(batch))
        assert (answer.status, answer.kind) == (400, "invalid_payload")
        assert "more than 10000" in answer.text
    with pytest.raises(InvalidSchemaError, match=r"more than 10000|too long"):
        schema_from_base64(base64.b64encode(inside.serialize()).decode())
    target.require_serving()


def test_b10_damaged_files_are_answered_one_by_one(target: Target) -> None:
    dice = random.Random(20261121)  # noqa: S311 - reproducible, not secret
    originals = [
        written(good_batch(), new, copies=2, compression=compression)
        for new in (pa.ipc.new_file, pa.ipc.new_stream)
        for compression in (None, "zstd", "lz4")
    ]
    pid, statuses = target.server.pid, dict.fromkeys((200, 400, 413), 0)
    for _ in range(2000):
        damaged = bytearray(dice.choice(originals))
        for _ in range(dice.randint(1, 6)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        statuses[target.infer_arrow(bytes(damaged)).status] += 1
    assert statuses[400] > 200
    assert target.server.process.poll() is None
    assert target.server.pid == pid
    target.require_serving()


def peak_bytes(target: Target) -> int:
    status = Path(f"/proc/{target.server.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def forget_peak(target: Target) -> int:
    Path(f"/proc/{target.server.pid}/clear_refs").write_text("5")
    return peak_bytes(target)


def compressed_bomb(codec: str, new: Callable[..., Any]) -> bytes:
    return written(
        pa.record_batch({"id": pa.array(np.zeros(50_000_000, np.int64))}), new, compression=codec
    )


def dictionary_bomb() -> bytes:
    words = pa.array(["x" * _MIB])
    indices = pa.array(np.zeros(_MIB, np.int8))
    return written(pa.record_batch([pa.DictionaryArray.from_arrays(indices, words)], ["text"]))


def view_bomb() -> bytes:
    whole = pa.py_buffer(b"x" * _MIB)
    view = struct.pack("<i4sii", _MIB, b"xxxx", 0, 0)
    views = pa.py_buffer(view * _MIB)
    column = pa.Array.from_buffers(pa.string_view(), _MIB, [None, views, whole])
    return written(pa.record_batch([column], ["text"]))


def many_nulls() -> pa.Array:
    return pa.Array.from_buffers(pa.null(), 2**40, [None])


def null_bomb() -> bytes:
    return written(pa.record_batch([many_nulls()], ["text"]))


def nested_null_bomb() -> bytes:
    offsets = pa.py_buffer(struct.pack("<qq", 0, 2**40))
    column = pa.Array.from_buffers(
        pa.large_list(pa.null()), 1, [None, offsets], children=[many_nulls()]
    )
    return written(pa.record_batch([column], ["text"]))


def rows_without_columns() -> bytes:
    batch = pa.RecordBatch.from_struct_array(
        pa.Array.from_buffers(pa.struct([]), 2**40, [None], children=[])
    )
    return written(batch)


@pytest.mark.parametrize(
    "bomb",
    [
        *(
            partial(compressed_bomb, codec, new)
            for codec in ("zstd", "lz4")
            for new in (pa.ipc.new_file, pa.ipc.new_stream)
        ),
        dictionary_bomb,
        view_bomb,
        null_bomb,
        nested_null_bomb,
        rows_without_columns,
    ],
)
def test_b11_bombs_are_refused_before_they_take_memory(
    target: Target, bomb: Callable[[], bytes]
) -> None:
    body = bomb()
    target.require_serving()
    before = forget_peak(target)
    answer = target.infer_arrow(body)
    assert (answer.status, answer.kind) == (413, "too_large"), answer
    grown = peak_bytes(target) - before
    assert grown < _GROWTH_BYTES + 4 * len(body), grown
    target.require_serving()


def test_b11_what_fits_is_decompressed(target: Target) -> None:
    batch = pa.RecordBatch.from_pylist([ROW] * 1000, schema=SCHEMA)
    for codec in ("zstd", "lz4"):
        assert target.infer_arrow(written(batch, compression=codec)).status == 200


@pytest.mark.parametrize(
    "text",
    [
        "!!!",
        "AAAA",
        base64.b64encode(b"\xff" * 300).decode(),
        base64.b64encode(SCHEMA.serialize().to_pybytes()[:-20]).decode(),
        base64.b64encode(SCHEMA.serialize().to_pybytes()).decode()[:-3],
        "A" * (4 * _MIB),
        "\N{GRINNING FACE}",
    ],
    ids=["no base64", "no schema", "noise", "cut", "cut text", "oversize", "no ASCII"],
)
def test_b12_schemas_that_cannot_be_read_are_refused(target: Target, text: str) -> None:
    conversion = {"framework": "custom"}
    metadata = {"name": "x", "workspace_id": 1, "conversion": conversion, "input_schema": text}
    answer = target.upload(json.dumps(metadata).encode())
    assert answer.status in (400, 413), answer
    assert answer.kind in ("invalid_schema", "too_large"), answer
    with pytest.raises(InvalidSchemaError):
        schema_from_base64(text if len(text) < _MIB else text + "A")


class _Unknown(pa.ExtensionType):  # type: ignore[misc]  # pyarrow is untyped
    def __init__(self) -> None:
        super().__init__(pa.string(), "attacks.unknown")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"cos\nsystem\n(S'false'\ntR."


def with_text(column: pa.Array) -> pa.RecordBatch:
    others = good_batch()
    columns = [column if name == "text" else others.column(name) for name in SCHEMA.names]
    return pa.RecordBatch.from_arrays(columns, SCHEMA.names)


def test_b13_dictionaries_views_and_extensions_are_read_as_what_they_mean(target: Target) -> None:
    texts = pa.array(["hello", None])
    for column in (
        texts.dictionary_encode(),
        texts.cast(pa.string_view()),
        texts.cast(pa.string_view()).dictionary_encode(),
        pa.ExtensionArray.from_storage(_Unknown(), texts),
    ):
        for new in (pa.ipc.new_file, pa.ipc.new_stream):
            answer = target.infer_arrow(written(with_text(column), new, copies=2))
            assert answer.status == 200, answer
            assert [row["out"]["text"] for row in answer.rows()] == ["hello", None] * 2


def test_b13_a_dictionary_that_grows_between_batches_is_read(target: Target) -> None:
    sink = pa.BufferOutputStream()
    batches = [with_text(pa.array(words).dictionary_encode()) for words in (["a", "b"], ["c", "a"])]
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    rows = target.infer_arrow(sink.getvalue()).rows()
    assert [row["out"]["text"] for row in rows] == ["a", "b", "c", "a"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["a"], ["b"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["a"])),
        pa.UnionArray.from_sparse(
            pa.array([0, 1], pa.int8()), [pa.array(["a", "b"]), pa.array([1, 2])]
        ),
        pa.array([["a"], ["b"]], pa.list_view(pa.string())),
    ],
    ids=lambda column: str(column.type).partition("<")[0],
)
def test_b13_types_that_are_not_read_are_refused_by_column(
    target: Target, column: pa.Array
) -> None:
    answer = target.infer_arrow(written(with_text(column)))
    assert (answer.status, answer.kind) == (400, "invalid_payload"), answer
    assert "column 'text' holds" in answer.text
    target.require_serving()


def test_one_bad_body_never_costs_another(target: Target) -> None:
    bad = [written(good_batch())[:-30], b"ARROW1", b"", dictionary_bomb()[: 1 << 16]]
    for number in range(40):
        assert target.infer_arrow(bad[number % len(bad)]).status == 400
        row = {**ROW, "id": number, "text": str(number)}
        batch = pa.RecordBatch.from_pylist([row], schema=SCHEMA)
        assert target.infer_arrow(written(batch)).rows()[0]["out"] == row


def test_the_answer_to_arrow_is_arrow_when_nothing_else_is_asked(target: Target) -> None:
    back = target.post(target.infer_path, written(good_batch()), {"Content-Type": ARROW_FILE})
    assert pa.ipc.open_file(back.content).read_all()["out"][0].as_py() == ROW
