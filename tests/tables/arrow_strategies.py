"""Hypothesis strategies: any batch whose types byop carries exactly."""

from typing import Any, Literal

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa

_INTEGERS = {
    pa.int8(): (-(2**7), 2**7 - 1),
    pa.int16(): (-(2**15), 2**15 - 1),
    pa.int32(): (-(2**31), 2**31 - 1),
    pa.int64(): (-(2**63), 2**63 - 1),
    pa.uint8(): (0, 2**8 - 1),
    pa.uint16(): (0, 2**16 - 1),
    pa.uint32(): (0, 2**32 - 1),
    pa.uint64(): (0, 2**64 - 1),
}
_FLOATS: dict[pa.DataType, Literal[16, 32, 64]] = {
    pa.float16(): 16,
    pa.float32(): 32,
    pa.float64(): 64,
}
_TIMES = [pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")]
_NS_PER = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


def scalar_types() -> st.SearchStrategy[pa.DataType]:
    plain = [pa.bool_(), pa.string(), pa.large_string(), pa.binary(), pa.date32()]
    return st.sampled_from([*_INTEGERS, *_FLOATS, *_TIMES, *plain])


def types() -> st.SearchStrategy[pa.DataType]:
    def deeper(children: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
        return st.one_of(
            children.map(pa.list_),
            children.map(pa.large_list),
            st.builds(pa.list_, children, st.integers(0, 3)),
            st.lists(st.tuples(_NAMES, children), max_size=3, unique_by=lambda f: f[0]).map(
                pa.struct
            ),
        )

    return st.recursive(scalar_types(), deeper, max_leaves=4)


def values(kind: pa.DataType, *, nulls: bool = True) -> st.SearchStrategy[Any]:
    """Values that Arrow takes for ``kind``; floats are finite, for JSON has no others."""
    present = _present_values(kind, nulls=nulls)
    return st.none() | present if nulls else present


def _present_values(kind: pa.DataType, *, nulls: bool) -> st.SearchStrategy[Any]:
    if kind in _INTEGERS:
        low, high = _INTEGERS[kind]
        return st.sampled_from([0, 1, low, high]) | st.integers(low, high)
    if kind in _FLOATS:
        return st.floats(width=_FLOATS[kind], allow_nan=False, allow_infinity=False)
    if isinstance(kind, pa.TimestampType):
        bound = 2**62 // _NS_PER["s"] * _NS_PER["s"] // _NS_PER[kind.unit]
        return st.integers(-bound, bound)
    if isinstance(kind, pa.StructType):
        return st.fixed_dictionaries({f.name: values(f.type, nulls=nulls) for f in kind})
    if isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        low, high = (kind.list_size,) * 2 if isinstance(kind, pa.FixedSizeListType) else (0, 4)
        return st.lists(values(kind.value_type, nulls=nulls), min_size=low, max_size=high)
    return _other_values(kind)


def _other_values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    return {
        pa.bool_(): st.booleans(),
        pa.binary(): st.binary(max_size=8),
        pa.date32(): st.dates(),
    }.get(kind, st.text(st.characters(codec="utf-8"), max_size=8))


@st.composite
def batches(
    draw: st.DrawFn, kinds: st.SearchStrategy[pa.DataType] | None = None, *, nulls: bool = True
) -> pa.RecordBatch:
    """A batch of up to 3 columns and up to 5 rows, sometimes a slice of a longer one."""
    names = draw(st.lists(_NAMES, min_size=1, max_size=3, unique=True))
    rows = draw(st.integers(0, 5))
    before = draw(st.integers(0, 2))
    columns = []
    for _ in names:
        kind = draw(kinds if kinds is not None else types())
        drawn = draw(
            st.lists(values(kind, nulls=nulls), min_size=before + rows, max_size=before + rows)
        )
        columns.append(array_of(drawn, kind).slice(before))
    return pa.RecordBatch.from_arrays(columns, names=names)


def array_of(drawn: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.float16():
        drawn = [None if value is None else np.float16(value) for value in drawn]
    return pa.array(drawn, kind)
