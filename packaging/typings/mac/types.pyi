from byop.sdk.types import AsyncPythonStep as AsyncPythonStep
from byop.sdk.types import InferenceData as InferenceData
from byop.sdk.types import PythonStep as PythonStep
