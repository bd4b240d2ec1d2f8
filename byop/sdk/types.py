"""The data that models take and give."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import numpy as np

__all__ = ["AsyncPythonStep", "InferenceData", "PythonStep"]

InferenceData: TypeAlias = dict[str, np.ndarray[Any, Any]]
"""Column name -> values. The first axis is the row: all columns of a batch have the same length."""

PythonStep: TypeAlias = Callable[[InferenceData], InferenceData]
"""A ``process_data`` function."""

AsyncPythonStep: TypeAlias = Callable[[InferenceData], Awaitable[InferenceData]]
"""An ``async def process_data``."""
