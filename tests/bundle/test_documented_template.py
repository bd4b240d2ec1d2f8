"""The generic managed-endpoint project of seed 004, against local stand-ins for both services.

Module head and ``_predict`` are the document's (2025-11, "Structure for Managed Inference
Endpoints BYOP Models") with the line breaks restored; the classes around them are the least
that the document asks for.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from byop.bundle.validation import validate_archive
from byop.domain.models import Framework
from tests.bundle.conftest import Predict
from tests.bundle.sources import write_zip

TEMPLATE = """
import json
import os

import numpy as np
import requests
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials
from mac.config.inference import CustomInferenceConfig
from mac.inference import Inference
from mac.inference.creation import InferenceBuilder
from mac.types import InferenceData

credentials = Credentials.from_service_account_info(
    json.loads(os.environ["APPLICATION_CREDENTIALS"].replace("'", '"')),
    scopes=["https://SERVICE_URL"],
)


class EndpointInference(Inference):
    @property
    def expected_model_types(self):
        return {str}

    @Inference.model.setter
    def model(self, model):
        self._raise_error_if_model_is_wrong_type(model)
        self._model = model

    def _predict(self, input_data: InferenceData):
        credentials.refresh(Request())
        token = credentials.token
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        }
        prompts = input_data["text"].tolist()
        instances = [{"prompt": prompt, "max_tokens": 200} for prompt in prompts]
        response = requests.post(
            f"{self.model}",
            json={"instances": instances},
            headers=headers,
        )
        predictions = response.json()
        if isinstance(predictions["predictions"], str):
            generated_text = [
                prediction.split("Output:\\n")[-1] for prediction in predictions["predictions"]
            ]
        else:
            generated_text = [
                prediction["predictions"][0].split("Output:\\n")[-1]
                for prediction in predictions["predictions"]
            ]
        return {"generated_text": np.array(generated_text)}


class EndpointInferenceBuilder(InferenceBuilder):
    @property
    def inference(self) -> EndpointInference:
        return EndpointInference()

    def create(self, config: CustomInferenceConfig) -> EndpointInference:
        inference = self.inference
        inference.model = os.environ["ENDPOINT"]
        return inference
"""
TOKEN = "token-of-the-stand-in"  # noqa: S105


class HostedService(BaseHTTPRequestHandler):
    """Signs in with a signed assertion, then answers prompts that carry the token."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/token":
            form = parse_qs(body.decode())
            assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
            self._answer(200, {"access_token": TOKEN, "expires_in": 3600})
        elif self.headers["Authorization"] == f"Bearer {TOKEN}":
            prompts = [each["prompt"] for each in json.loads(body)["instances"]]
            answers = [{"predictions": [f"Prompt:\n{each}\nOutput:\nYes."]} for each in prompts]
            self._answer(200, {"predictions": answers})
        else:
            self._answer(401, {"error": "no token"})

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def service_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), HostedService)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def service_account(service_url: str) -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "type": "service_account",
        "private_key_id": "1",
        "private_key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        "client_email": "byop@stand-in.invalid",
        "token_uri": f"{service_url}/token",
    }


def test_documented_template_signs_in_and_answers(
    tmp_path: Path, predict_from: Predict, service_url: str, service_account: dict[str, str]
) -> None:
    files = {"inference.py": TEMPLATE, "requirements.txt": "google-auth\nrequests\n"}
    archive = write_zip(tmp_path / "model.zip", files)
    report = validate_archive(archive, Framework.CUSTOM)
    assert report.requirements == ("google-auth", "requests")
    prompts = ["What happened to the Serge llama?", "How are you doing?"]
    answer = predict_from(
        archive,
        {"text": prompts},
        environment={
            # str() of the dictionary, as the document's deployment configuration gives it
            "APPLICATION_CREDENTIALS": str(service_account),
            "ENDPOINT": f"{service_url}/predict",
        },
    )
    assert answer == {"generated_text": ["Yes.", "Yes."]}
