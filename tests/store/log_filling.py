"""What the kept inference log holds, by topic and in ascending order."""

from dataclasses import replace

import pyarrow as pa

from byop.domain.inferences import InferenceRecord
from tests.store.log_records import METADATA, make_other_record, make_record


def kept_records() -> dict[str, list[InferenceRecord]]:
    typed = pa.RecordBatch.from_pydict(
        {
            "text": pa.array(["ü", None]),
            "tensor": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
            "at": pa.array([0, None], pa.timestamp("ms", "UTC")),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    newer = replace(METADATA, pipeline_version="newer", dropped=("in.image",), elapsed_ns=())
    return {
        "numbers": [
            make_record([1, 2, 3], time_ms=10),
            make_other_record([4], time_ms=20),
            replace(make_record([5], time_ms=30), metadata=newer),
        ],
        "large": [make_record(list(range(4000)), time_ms=40)],
        "types": [replace(make_record([1, 2]), inputs=typed, outputs=typed)],
    }
