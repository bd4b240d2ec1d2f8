"""The reference: a bare uvicorn handler that decodes, calls the model in process and encodes.

No authentication, no validation, no log, no process boundary. It answers what byop answers:
time, in.tensor, out.y and anomaly.count. Usage: ``python reference_server.py PORT``.
"""

import sys
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import cast

import numpy as np
import orjson
import pyarrow as pa
import uvicorn

WEIGHTS = np.linspace(-1, 1, 29, dtype=np.float32)


def predict(x: np.ndarray) -> np.ndarray:
    return x @ WEIGHTS


def answer_json(body: bytes) -> bytes:
    x = np.array([row["tensor"] for row in orjson.loads(body)], dtype=np.float32)
    y = predict(x)
    now = time.time_ns() // 1_000_000
    rows = [
        {"time": now, "in.tensor": features, "out.y": score, "anomaly.count": 0}
        for features, score in zip(x, y, strict=True)
    ]
    return orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)


def answer_arrow(body: bytes) -> bytes:
    table = pa.ipc.open_file(pa.py_buffer(body)).read_all()
    batch = table.combine_chunks().to_batches()[0]
    tensor = batch.column(0)
    y = predict(tensor.flatten().to_numpy().reshape(-1, 29))
    rows = batch.num_rows
    answer = pa.record_batch(
        {
            "time": pa.array(np.full(rows, time.time_ns() // 1_000_000), pa.timestamp("ms")),
            "in.tensor": tensor,
            "out.y": pa.array(y),
            "anomaly.count": pa.array(np.zeros(rows, np.int8)),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, answer.schema) as writer:
        writer.write_batch(answer)
    return sink.getvalue().to_pybytes()


Message = MutableMapping[str, object]


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    parts = []
    while True:
        message = await receive()
        parts.append(cast("bytes", message.get("body", b"")))
        if not message.get("more_body"):
            break
    body = b"".join(parts)
    headers = cast("Iterable[tuple[bytes, bytes]]", scope["headers"])
    is_arrow = dict(headers).get(b"content-type", b"").startswith(b"application/vnd")
    answer = answer_arrow(body) if is_arrow else answer_json(body)
    length = str(len(answer)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
