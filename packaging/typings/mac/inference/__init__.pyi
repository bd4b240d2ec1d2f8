from byop.sdk.inference import AsyncInference as AsyncInference
from byop.sdk.inference import Inference as Inference
