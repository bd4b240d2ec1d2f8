"""JSON <-> Arrow <-> numpy: milliseconds, and the ratio to plain code measured beside it.

``plain`` is what one writes first: orjson with pylists. ``bare`` is the best variant that was
found without any check: orjson with numpy, wrong types accepted. A ratio under 1 is faster.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from byop.domain.inferences import InferenceMetadata, InferenceRecord, no_anomalies
from byop.tables.arrays import from_arrays, to_arrays
from byop.tables.datasets import DatasetSelection
from byop.tables.ipc import TableLimits, read_file, write_file
from byop.tables.records import decode_records
from byop.tables.results import encode_json, to_arrow
from byop.tables.schemas import schema_from_mapping

ROWS = (1, 1_000, 10_000)
WIDTH = 29
TIME_MS = 1_684_356_836_285
SECONDS = 0.4
ROUNDS = 3

Run = Callable[[], object]


@dataclass(frozen=True)
class Case:
    name: str
    run: Run
    plain: Run
    bare: Run


def main() -> None:
    print(
        f"{'case':34}{'rows':>8}{'ms':>10}{'plain ms':>10}{'/plain':>8}{'bare ms':>10}{'/bare':>7}"
    )
    for rows in ROWS:
        for case in [*tensor_cases(rows), *text_cases(rows)]:
            ours, plain, bare = interleaved(case.run, case.plain, case.bare)
            print(
                f"{case.name:34}{rows:8}{ours:10.4f}{plain:10.4f}{ours / plain:8.2f}"
                f"{bare:10.4f}{ours / bare:7.2f}"
            )
        for name, run in own_cases(rows).items():
            print(f"{name:34}{rows:8}{interleaved(run)[0]:10.4f}")


def interleaved(*runs: Run) -> list[float]:
    """Return each one's best milliseconds; they take turns, so that a slow phase hits them all."""
    best = [float("inf")] * len(runs)
    for _ in range(ROUNDS):
        for position, run in enumerate(runs):
            ends_at = time.perf_counter() + SECONDS / ROUNDS
            while (began := time.perf_counter()) < ends_at:
                run()
                best[position] = min(best[position], time.perf_counter() - began)
    return [seconds * 1e3 for seconds in best]


def tensor_cases(rows: int) -> list[Case]:
    schema = schema_from_mapping({"tensor": "list<float32>"})
    numbers = np.random.default_rng(1).standard_normal((rows, WIDTH)).astype(np.float32)
    pixels = (numbers > 0).astype(np.float32)
    inference = tensor_inference(numbers)
    flat, nested = selections()

    def plain_encode() -> bytes:
        return orjson.dumps(to_arrow([inference], flat).to_pylist(), default=milliseconds)

    def bare_encode() -> bytes:
        outputs = numbers[:, :1]
        return orjson.dumps(
            [
                {"time": TIME_MS, "in.tensor": x, "out.dense_1": y, "anomaly.count": 0}
                for x, y in zip(numbers, np.ascontiguousarray(outputs), strict=True)
            ],
            option=orjson.OPT_SERIALIZE_NUMPY,
        )

    cases = []
    for name, values in (("decode 29 float32", numbers), ("decode 29 zeros and ones", pixels)):
        body = orjson.dumps([{"tensor": row} for row in values], option=orjson.OPT_SERIALIZE_NUMPY)
        cases.append(
            Case(
                name,
                lambda body=body: decode_records(body, schema),
                lambda body=body: pa.RecordBatch.from_pylist(orjson.loads(body), schema=schema),
                lambda body=body: bare_tensor_decode(body, schema),
            )
        )
    return [
        *cases,
        Case("encode in + out", lambda: encode_json([inference], flat), plain_encode, bare_encode),
        Case(
            "encode nested, all datasets",
            lambda: encode_json([inference], nested),
            lambda: orjson.dumps(to_arrow([inference], nested).to_pylist()),
            lambda: bare_nested_encode(numbers, inference.metadata),
        ),
    ]


def bare_tensor_decode(body: bytes, schema: pa.Schema) -> pa.RecordBatch:
    lists = [record["tensor"] for record in orjson.loads(body)]
    flat = itertools.chain.from_iterable(lists)
    numbers = np.fromiter(flat, dtype=np.float32, count=len(lists) * WIDTH)
    offsets = np.arange(0, numbers.size + 1, WIDTH, dtype=np.int32)
    column = pa.ListArray.from_arrays(pa.array(offsets), pa.array(numbers))
    return pa.RecordBatch.from_arrays([column], schema=schema)


def bare_nested_encode(numbers: np.ndarray, metadata: InferenceMetadata) -> bytes:
    told = {
        "last_model": metadata.last_model,
        "pipeline_version": metadata.pipeline_version,
        "elapsed": metadata.elapsed_ns,
        "dropped": metadata.dropped,
        "partition": metadata.partition,
    }
    return orjson.dumps(
        [
            {
                "time": TIME_MS,
                "in": {"tensor": x},
                "out": {"dense_1": y},
                "anomaly": {"count": 0},
                "check_failures": (),
                "metadata": told,
            }
            for x, y in zip(numbers, np.ascontiguousarray(numbers[:, :1]), strict=True)
        ],
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def text_cases(rows: int) -> list[Case]:
    schema = schema_from_mapping({"text": "string"})
    texts = [f'Prompt {i}: what does "llama" mean in Spanish, and why?' for i in range(rows)]
    body = orjson.dumps([{"text": text} for text in texts])
    inputs = decode_records(body, schema)
    outputs = pa.RecordBatch.from_arrays([*inputs.columns, inputs.column(0)], ["text", "answer"])
    inference = InferenceRecord(TIME_MS, inputs, outputs, no_anomalies(rows), metadata_of_model())
    flat, _ = selections()

    def bare_decode() -> pa.RecordBatch:
        column = pa.array([record["text"] for record in orjson.loads(body)])
        return pa.RecordBatch.from_arrays([column], schema=schema)

    def bare_encode() -> bytes:
        columns = [column.to_numpy(zero_copy_only=False).tolist() for column in outputs.columns]
        return orjson.dumps(
            [
                {"time": TIME_MS, "in.text": a, "out.text": b, "out.answer": c, "anomaly.count": 0}
                for a, b, c in zip(columns[0], *columns, strict=True)
            ]
        )

    return [
        Case(
            "decode text",
            lambda: decode_records(body, schema),
            lambda: pa.RecordBatch.from_pylist(orjson.loads(body), schema=schema),
            bare_decode,
        ),
        Case(
            "encode text in + 2 out",
            lambda: encode_json([inference], flat),
            lambda: orjson.dumps(to_arrow([inference], flat).to_pylist(), default=milliseconds),
            bare_encode,
        ),
    ]


def own_cases(rows: int) -> dict[str, Run]:
    numbers = np.random.default_rng(1).standard_normal((rows, WIDTH)).astype(np.float32)
    schema = schema_from_mapping({"tensor": f"list<float32>[{WIDTH}]"})
    inference = tensor_inference(numbers)
    batch = from_arrays({"tensor": numbers}, schema)
    body = write_file(batch)
    flat, _ = selections()
    return {
        "batch -> numpy": lambda: to_arrays(batch),
        "numpy -> batch": lambda: from_arrays({"tensor": numbers}, schema),
        "read Arrow file, validated": lambda: read_file(body, TableLimits()),
        "write Arrow file": lambda: write_file(batch),
        "inference -> Arrow": lambda: to_arrow([inference], flat),
    }


def tensor_inference(numbers: np.ndarray) -> InferenceRecord:
    return InferenceRecord(
        TIME_MS,
        from_arrays({"tensor": numbers}, None),
        from_arrays({"dense_1": np.ascontiguousarray(numbers[:, :1])}, None),
        no_anomalies(len(numbers)),
        metadata_of_model(),
    )


def metadata_of_model() -> InferenceMetadata:
    return InferenceMetadata('{"model_name":"m","model_sha":"0"}', "v", (1_000, 2_000))


def selections() -> tuple[DatasetSelection, DatasetSelection]:
    return DatasetSelection.parse([], [], "."), DatasetSelection.parse([], [], None)


def milliseconds(value: object) -> object:
    return TIME_MS if hasattr(value, "timestamp") else value


if __name__ == "__main__":
    main()
