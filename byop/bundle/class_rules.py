"""What the classes of a custom model must look like, each rule with its documented text.

Rules and texts: reference/wallaroo-sdk.md section 3, upload-time validation (read 2025-11). A
missing return annotation on ``_predict`` is accepted, as the tutorials' own projects need it.
"""

import ast

from byop.bundle.source_classes import FunctionNode, SourceClass, SourceIndex, SourceModule
from byop.errors import InvalidBundleError

INFERENCE_CLASSES = frozenset({"Inference", "AsyncInference"})
BUILDER_CLASSES = frozenset({"InferenceBuilder"})

_DICTIONARIES = frozenset({"dict", "Dict", "Mapping", "MutableMapping"})
_ARRAYS = frozenset({"ndarray", "NDArray", "ArrayLike", "Any"})
_ALIAS_DEPTH = 5


def check_classes(index: SourceIndex) -> None:
    """Check that there is one Inference and one InferenceBuilder, and both are complete.

    Raises:
        InvalidBundleError: With the documented text of the first rule that is broken.
    """
    inference = _require_one(index.derived_from(INFERENCE_CLASSES), "Inference")
    builder = _require_one(index.derived_from(BUILDER_CLASSES), "InferenceBuilder")
    for method in ("inference", "create"):
        if index.member(builder, method) is None:
            raise InvalidBundleError(
                f"The InferenceBuilder class must contain the {method} method."
            )
    predict = index.member(inference, "_predict")
    if predict is None:
        raise InvalidBundleError("The Inference class must contain the predict method.")
    if index.member(inference, "expected_model_types") is None:
        raise InvalidBundleError(
            "The Inference class must contain the expected_model_types method."
        )
    statement, module = predict
    if isinstance(statement, FunctionNode):
        _check_predict(statement, module, index)


def _require_one(found: list[SourceClass], kind: str) -> SourceClass:
    if not found:
        raise InvalidBundleError(f"No {kind}-inherited class found in the model directory")
    if len(found) > 1:
        names = [each.name for each in found]
        raise InvalidBundleError(f"Multiple {kind}-inherited classes found: {names}.")
    return found[0]


def _check_predict(function: FunctionNode, module: SourceModule, index: SourceIndex) -> None:
    positional = [*function.args.posonlyargs, *function.args.args]
    is_static = any(module.resolve(each) == "staticmethod" for each in function.decorator_list)
    given = positional if is_static else positional[1:]
    annotation = given[0].annotation if given else None
    if annotation is None or not _is_arrays_by_name(annotation, module, index):
        raise InvalidBundleError(
            "The Inference class's predict method may only accept a dictionary of numpy arrays."
        )
    if function.returns is not None and not _is_arrays_by_name(function.returns, module, index):
        raise InvalidBundleError(
            "The Inference class's predict method may only return a dictionary of numpy arrays."
        )


def _is_arrays_by_name(
    annotation: ast.expr, module: SourceModule, index: SourceIndex, depth: int = _ALIAS_DEPTH
) -> bool:
    """Return whether the annotation means InferenceData, following aliases of the project."""
    match annotation:
        case ast.Constant(value=str(text)):
            parsed = _parse_annotation(text)
            return parsed is not None and _is_arrays_by_name(parsed, module, index, depth)
        case ast.Subscript(value=container, slice=ast.Tuple(elts=[_, values])):
            return module.resolve(container) in _DICTIONARIES and _is_array(values, module)
    name = module.resolve(annotation)
    if isinstance(annotation, ast.Subscript):
        return False
    if name == "InferenceData" or name in _DICTIONARIES:
        return True
    alias = index.alias_value(name) if depth else None
    return alias is not None and _is_arrays_by_name(*alias, index, depth - 1)


def _is_array(annotation: ast.expr, module: SourceModule) -> bool:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        parsed = _parse_annotation(annotation.value)
        return parsed is not None and _is_array(parsed, module)
    return module.resolve(annotation) in _ARRAYS


def _parse_annotation(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return None
