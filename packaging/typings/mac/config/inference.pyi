from byop.sdk.config import CustomInferenceConfig as CustomInferenceConfig
