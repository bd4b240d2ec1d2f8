"""Local stand-ins for LLMs hosted elsewhere, for the demo, the examples and users' tests."""

from byop.sandbox.recording import RecordedRequest
from byop.sandbox.script import Rule, Script, load_script, read_script
from byop.sandbox.server import Sandbox

__all__ = ["RecordedRequest", "Rule", "Sandbox", "Script", "load_script", "read_script"]
