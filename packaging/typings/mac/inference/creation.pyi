from byop.sdk.builder import InferenceBuilder as InferenceBuilder
