"""When a worker imports pandas: before READY, and only for types that pyarrow needs it for."""

import subprocess
import sys

import pyarrow as pa
import pytest

from byop.engine.worker import imports_pandas

REQUEST = """
import sys
import pyarrow as pa
from byop.tables import arrays, ipc, schemas

batch = ipc.read_stream(sys.stdin.buffer.read())
found = arrays.to_arrays(batch)
after_reading = "pandas" in sys.modules
if not after_reading:
    arrays.from_arrays(found, batch.schema)
print(after_reading, "pandas" in sys.modules)
"""
NUMBERS = pa.schema([("n", pa.float64())])


def what_a_request_imports(kind: pa.DataType, values: list[object]) -> tuple[bool, bool]:
    """Return whether pandas is loaded after reading, and after writing the same columns."""
    batch = pa.RecordBatch.from_arrays([pa.array(values, kind)], names=["x"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    done = subprocess.run(
        [sys.executable, "-c", REQUEST],
        input=sink.getvalue().to_pybytes(),
        capture_output=True,
        check=True,
    )
    read, written = done.stdout.split()
    return read == b"True", written == b"True"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.string(), ["a"]),
        (pa.list_(pa.string()), [["a"], ["b"]]),
        (pa.bool_(), [True]),
        (pa.timestamp("us"), [1]),
        (pa.date32(), [1]),
        (pa.int64(), [1]),
        (pa.list_(pa.float32(), 2), [[1.0, 2.0]]),
        (pa.binary(), [b"a"]),
        (pa.list_(pa.int8()), [[1], [1, 2]]),
    ],
    ids=str,
)
def test_pandas_is_imported_before_ready_exactly_when_a_request_would(
    kind: pa.DataType, values: list[object]
) -> None:
    schema = pa.schema([("x", kind)])
    read, written = what_a_request_imports(kind, values)
    assert imports_pandas(schema, NUMBERS) == read
    if not read:
        assert imports_pandas(NUMBERS, schema) == written


def test_types_that_are_not_declared_may_be_text() -> None:
    assert imports_pandas(None, NUMBERS)
    assert imports_pandas(NUMBERS, None)
    assert not imports_pandas(NUMBERS, NUMBERS)
