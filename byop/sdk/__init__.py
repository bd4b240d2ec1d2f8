"""What model authors build on: numpy and the standard library only.

Workers serve the same classes under the names ``mac.*`` (``byop.sdk.mac_alias``).
"""

from byop.sdk.builder import InferenceBuilder
from byop.sdk.config import CustomInferenceConfig
from byop.sdk.env import require_env
from byop.sdk.exceptions import (
    InferenceDataValidationError,
    InferenceError,
    InferencePostprocessingError,
    InferencePreprocessingError,
    InferenceTypeError,
    MissingVariableError,
    ModelNotAssignedError,
    NDArrayToArrowConversionError,
    PandasRecordsConversionError,
    PythonStepError,
)
from byop.sdk.inference import AsyncInference, Inference
from byop.sdk.types import AsyncPythonStep, InferenceData, PythonStep

__all__ = [
    "AsyncInference",
    "AsyncPythonStep",
    "CustomInferenceConfig",
    "Inference",
    "InferenceBuilder",
    "InferenceData",
    "InferenceDataValidationError",
    "InferenceError",
    "InferencePostprocessingError",
    "InferencePreprocessingError",
    "InferenceTypeError",
    "MissingVariableError",
    "ModelNotAssignedError",
    "NDArrayToArrowConversionError",
    "PandasRecordsConversionError",
    "PythonStep",
    "PythonStepError",
    "require_env",
]
