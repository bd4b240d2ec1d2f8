"""From an unpacked project to something that predicts. Worker code: standard library and numpy.

Discovery follows reference/wallaroo-sdk.md section 3: the top-level ``*.py`` files of the project
are imported and exactly one class derived from InferenceBuilder is looked for in them.
"""

import inspect
import os
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from byop.bundle.entry_modules import load_entry_modules, load_module_at
from byop.errors import ModelLoadFailedError
from byop.sdk import mac_alias
from byop.sdk.builder import InferenceBuilder
from byop.sdk.config import CustomInferenceConfig
from byop.sdk.exceptions import InferenceTypeError, PythonStepError
from byop.sdk.types import InferenceData

OPENAI_HANDLERS = ("handle_completion", "handle_chat_completion")
"""Module-level functions that make a project answer the OpenAI protocol (reference section 3)."""

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready. ``predict`` gives an awaitable when ``is_async``."""

    predict: Callable[[InferenceData], InferenceData | Awaitable[InferenceData]]
    is_async: bool


def load_inference(model_path: Path) -> LoadedModel:
    """Return the model of the unpacked project at ``model_path``.

    Runs the author's code: module bodies, the builder, its ``create``.

    Raises:
        ModelLoadFailedError: With the reason and, when the author's code raised, where.
    """
    mac_alias.install()
    root = model_path.resolve()
    with _authors_code(root):
        modules = load_entry_modules(root)
        builder_types = _unique(_builders_in(modules))
        if not builder_types and _answers_openai(modules):
            return LoadedModel(_refuse_tables, is_async=False)
        builder_type = _only(builder_types, "InferenceBuilder-inherited class", root)
        config = CustomInferenceConfig(model_path=root)
        builder_type._custom_config = config  # noqa: SLF001  # authors read it in __init__
        return _as_loaded(builder_type().create(config))


def load_python_step(path: Path) -> LoadedModel:
    """Return the ``process_data`` of a source file, or of a folder's top-level files.

    Raises:
        ModelLoadFailedError: As ``load_inference``; or there is not exactly one such function,
            or it does not take exactly one argument.
    """
    mac_alias.install()
    path = path.resolve()
    with _authors_code(path):
        modules = load_entry_modules(path) if path.is_dir() else [load_module_at(path)]
        found = [module.process_data for module in modules if hasattr(module, "process_data")]
        step = _only(_unique(found), "process_data(input_data: InferenceData) function", path)
        _require_one_argument(step)
        return LoadedModel(step, is_async=inspect.iscoroutinefunction(step))


def _builders_in(modules: Iterable[ModuleType]) -> Iterator[type[InferenceBuilder]]:
    for module in modules:
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, InferenceBuilder)
                and value is not InferenceBuilder
            ):
                yield value


def _answers_openai(modules: Iterable[ModuleType]) -> bool:
    return any(
        inspect.isfunction(getattr(module, name, None))
        for module in modules
        for name in OPENAI_HANDLERS
    )


def _refuse_tables(_input_data: InferenceData) -> InferenceData:
    raise InferenceTypeError(
        "this model has no Inference: it answers chat and completion requests only"
    )


def _unique(found: Iterable[_Found]) -> list[_Found]:
    return list({id(one): one for one in found}.values())


def _only(found: list[_Found], what: str, path: Path) -> _Found:
    match found:
        case [one]:
            return one
        case []:
            raise ModelLoadFailedError(path.name, f"no {what} found in the top-level .py files")
    names = ", ".join(getattr(one, "__qualname__", repr(one)) for one in found)
    raise ModelLoadFailedError(path.name, f"more than one {what} found: {names}")


def _as_loaded(inference: object) -> LoadedModel:
    predict = getattr(inference, "predict", None)
    if isinstance(inference, type) or not callable(predict):
        raise InferenceTypeError(
            f"create() returned {inference!r}, expected an instance of an Inference class"
        )
    author_part = getattr(inference, "_predict", predict)
    is_async = inspect.iscoroutinefunction(predict) or inspect.iscoroutinefunction(author_part)
    return LoadedModel(predict, is_async=is_async)


def _require_one_argument(step: Callable[..., object]) -> None:
    try:
        inspect.signature(step).bind(None)
    except TypeError:
        raise PythonStepError(
            f"process_data{inspect.signature(step)} must take exactly one argument, input_data"
        ) from None


@contextmanager
def _authors_code(path: Path) -> Iterator[None]:
    """Turn whatever the author's code raises, ``sys.exit`` included, into ModelLoadFailedError."""
    try:
        yield
    except ModelLoadFailedError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelLoadFailedError(path.name, _describe(error, path)) from error


def _describe(error: BaseException, path: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    root = path if path.is_dir() else path.parent
    own = [frame for frame in frames if frame.filename.startswith(f"{root}{os.sep}")]
    where = f" ({Path(own[-1].filename).relative_to(root)}, line {own[-1].lineno})" if own else ""
    if isinstance(error, SyntaxError):
        where = f" ({Path(error.filename or '').name}, line {error.lineno})"
        return f"SyntaxError: {error.msg}{where}"
    return f"{type(error).__name__}: {error}{where}{_hint(error, frames)}"


def _hint(error: BaseException, frames: traceback.StackSummary) -> str:
    if isinstance(error, ModuleNotFoundError):
        return ". Does requirements.txt name its package?"
    if isinstance(error, KeyError) and Path(frames[-1].filename).name in ("os.py", "<frozen os>"):
        return ". The variable is not set: give it in sidekick_env at deployment"
    return ""
