"""What an author's code raises, and what the classes of this package raise on its behalf.

The tree::

    InferenceError
    |-- InferenceDataValidationError      the input cannot be used; the caller's fault
    |-- InferencePreprocessingError       the input could not be prepared; the caller's fault
    |-- InferencePostprocessingError      the answer could not be shaped
    |-- InferenceTypeError                something that was to be an Inference is none
    |-- ModelNotAssignedError             predict before a model was assigned
    |-- MissingVariableError              an environment variable that the model needs is absent
    |-- PythonStepError                   a python step cannot be used
    |-- NDArrayToArrowConversionError     an output array does not fit the declared type
    `-- PandasRecordsConversionError      records that are no table
"""

__all__ = [
    "InferenceDataValidationError",
    "InferenceError",
    "InferencePostprocessingError",
    "InferencePreprocessingError",
    "InferenceTypeError",
    "MissingVariableError",
    "ModelNotAssignedError",
    "NDArrayToArrowConversionError",
    "PandasRecordsConversionError",
    "PythonStepError",
]


class InferenceError(Exception):
    """Root of the tree."""


class InferenceDataValidationError(InferenceError):
    """The input cannot be used: the caller's fault."""


class InferencePreprocessingError(InferenceError):
    """The input could not be prepared for the model: the caller's fault."""


class InferencePostprocessingError(InferenceError):
    """The model's answer could not be brought into its declared shape."""


class InferenceTypeError(InferenceError):
    """Something that was to be an Inference, or able to predict, is not."""


class ModelNotAssignedError(InferenceError):
    """``predict`` was called before a model was assigned."""

    def __init__(self, message: str = "no model is assigned: assign one in create()") -> None:
        super().__init__(message)


class MissingVariableError(InferenceError):
    """An environment variable that the model needs is absent. ``variable`` is its name."""

    def __init__(self, variable: str) -> None:
        super().__init__(
            f"environment variable {variable!r} is not set: give it in sidekick_env at deployment"
        )
        self.variable = variable


class PythonStepError(InferenceError):
    """A python step cannot be used, or failed."""


class NDArrayToArrowConversionError(InferenceError):
    """An output array does not fit the declared Arrow type."""


class PandasRecordsConversionError(InferenceError):
    """Records that are no table."""
