from byop.server.metrics import Metrics


def test_pipelines_beyond_the_cap_share_a_label() -> None:
    metrics = Metrics()
    for number in range(700):
        metrics.count_inference(f"pipeline-{number}", 200, 0.01)
    metrics.count_inference("pipeline-0", 500, 0.01)
    text = metrics.exposition().decode()
    assert 'byop_inferences_total{pipeline="other",status="200"} 200.0' in text
    assert 'byop_inferences_total{pipeline="pipeline-499",status="200"} 1.0' in text
    assert 'byop_inferences_total{pipeline="pipeline-0",status="500"} 1.0' in text
    assert "pipeline-500" not in text


def test_the_seconds_of_an_inference_fall_into_their_bucket() -> None:
    metrics = Metrics()
    metrics.count_inference("chat", 200, 0.02)
    text = metrics.exposition().decode()
    assert 'byop_inference_seconds_bucket{le="0.01",pipeline="chat"} 0.0' in text
    assert 'byop_inference_seconds_bucket{le="0.025",pipeline="chat"} 1.0' in text
