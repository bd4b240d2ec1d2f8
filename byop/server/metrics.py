"""Prometheus metrics. Labels are bounded: routes are templates, pipelines have a cap."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import generate_latest

_MAX_PIPELINES = 500
_OTHER = "other"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self.in_progress = Gauge(
            "byop_requests_in_progress", "Requests being served", registry=self._registry
        )
        self._requests = Counter(
            "byop_http_requests",
            "Management requests served",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "byop_http_request_seconds",
            "Time to serve a management request",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._inferences = Counter(
            "byop_inferences",
            "Inference requests answered",
            ["pipeline", "status"],
            registry=self._registry,
        )
        self._inference_seconds = Histogram(
            "byop_inference_seconds",
            "Time to answer an inference request",
            ["pipeline"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._pipelines: set[str] = set()
        self._inference_children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a management request. ``route`` is a template, never a path as it came."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def count_inference(self, pipeline: str, status: int, seconds: float) -> None:
        """Count an inference request of a deployed pipeline, or of none (empty)."""
        children = self._inference_children.get((pipeline, status))
        if children is None:
            children = self._children(pipeline, status)
        children[0].inc()
        children[1].observe(seconds)

    def exposition(self) -> bytes:
        """Return every metric in Prometheus's text format."""
        return generate_latest(self._registry)

    def _children(self, pipeline: str, status: int) -> tuple[Counter, Histogram]:
        if pipeline not in self._pipelines and len(self._pipelines) >= _MAX_PIPELINES:
            return self._inferences.labels(_OTHER, str(status)), self._inference_seconds.labels(
                _OTHER
            )
        self._pipelines.add(pipeline)
        children = (
            self._inferences.labels(pipeline, str(status)),
            self._inference_seconds.labels(pipeline),
        )
        self._inference_children[pipeline, status] = children
        return children
