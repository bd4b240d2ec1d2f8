import pyarrow as pa
import pytest

from byop.bundle.manifest import EndpointKind, ModelManifest, read_manifest
from byop.domain.models import Framework
from byop.errors import InvalidBundleError

FULL = """
[model]
name = "openai-chat"
framework = "custom"
[input]
text = "string"
[output]
generated_text = "string"
scores = "list<float32>[29]"
[environment]
required = ["OPENAI_API_KEY"]
optional = ["OPENAI_BASE_URL", "OPENAI_MODEL"]
[endpoint]
kind = "openai"
[bundle]
include = ["../shared/linear_text.py"]
"""


def test_every_table_is_read() -> None:
    assert read_manifest(FULL) == ModelManifest(
        name="openai-chat",
        framework=Framework.CUSTOM,
        inputs=pa.schema([("text", pa.string())]),
        outputs=pa.schema(
            [("generated_text", pa.string()), ("scores", pa.list_(pa.float32(), 29))]
        ),
        environment_required=("OPENAI_API_KEY",),
        environment_optional=("OPENAI_BASE_URL", "OPENAI_MODEL"),
        endpoint_kind=EndpointKind.OPENAI,
        bundle_include=("../shared/linear_text.py",),
    )


def test_name_is_enough() -> None:
    assert read_manifest('[model]\nname = "m"') == ModelManifest(name="m")


def test_declared_table_without_columns_is_an_empty_schema() -> None:
    assert read_manifest('[model]\nname = "m"\n[input]\n').inputs == pa.schema([])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model\nx = 1", "model.toml: .*line 1"),
        ("", r"\[model\] needs a name"),
        ('[model]\nname = "Not A Label"', "model name 'Not A Label' is not allowed"),
        ('[model]\nname = "m"\nframework = "magic"', "'magic' is not known: use one of onnx"),
        ('[model]\nname = "m"\n[bundl]', r"\[bundl\] is not known"),
        ('[model]\nname = "m"\nversion = 1', r"\[model\] has no key 'version'"),
        ('input = 1\n[model]\nname = "m"', "input must be a table"),
        ('[model]\nname = "m"\n[input]\nx = 3', r"\[input\] x must be an Arrow type as text"),
        ('[model]\nname = "m"\n[input]\nx = "number"', r"\[input\] .*number"),
        ('[model]\nname = "m"\n[endpoint]', "kind None is not known"),
        ('[model]\nname = "m"\n[endpoint]\nkind = "x"', "use one of openai, azure-openai"),
        ('[model]\nname = "m"\n[environment]\nrequired = "A"', "must be a list of texts"),
    ],
)
def test_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidBundleError, match=message):
        read_manifest(text)
