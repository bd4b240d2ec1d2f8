"""Take the weights of a published linear model once, and what it says of the reference texts.

Reads pickles and needs scikit-learn, so it runs in a throw-away environment, never in byop's::

    python3 -m venv /tmp/weights
    /tmp/weights/bin/pip install alt-profanity-check==1.9.1
    /tmp/weights/bin/python packaging/vendor_weights.py

It writes ``listeners/toxicity/weights.npz`` and ``tests/listeners/toxicity_expected.json``, from
the texts of ``tests/listeners/toxicity_texts.json``. Running it again gives the same bytes.

The model is TF-IDF over single words and five LinearSVC folds, each with a sigmoid calibration
``1 / (1 + exp(a * f + b))`` of its decision ``f = w . x + c``; the answer is the folds' mean. The
calibration is folded into the weights: ``-a * w`` and ``-(a * c + b)``.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import profanity_check
from profanity_check import profanity_check as published

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "listeners" / "toxicity" / "weights.npz"
TEXTS = ROOT / "tests" / "listeners" / "toxicity_texts.json"
EXPECTED = ROOT / "tests" / "listeners" / "toxicity_expected.json"
PACKAGE = "alt-profanity-check"


def main() -> None:
    """Write both files."""
    require_known_model(published.vectorizer, published.model)
    np.savez_compressed(WEIGHTS, **weights_of(published.vectorizer, published.model))
    texts = json.loads(TEXTS.read_text(encoding="utf-8"))
    scores = [float(score) for score in profanity_check.predict_prob(texts)]
    document = {"package": PACKAGE, "version": version(PACKAGE), "scores": scores}
    EXPECTED.write_text(json.dumps(document, indent=0) + "\n", encoding="utf-8")
    print(f"{WEIGHTS.name}: {WEIGHTS.stat().st_size} bytes; {len(texts)} reference scores")


def require_known_model(vectorizer: object, model: object) -> None:
    """Refuse a model whose settings are not those that LinearTextModel computes."""
    settings = vectorizer.get_params()
    wanted = {
        "analyzer": "word",
        "binary": False,
        "lowercase": True,
        "ngram_range": (1, 1),
        "norm": "l2",
        "preprocessor": None,
        "strip_accents": None,
        "sublinear_tf": False,
        "token_pattern": r"(?u)\b\w\w+\b",
        "tokenizer": None,
        "use_idf": True,
    }
    differing = {name: settings[name] for name, value in wanted.items() if settings[name] != value}
    if differing or {fold.method for fold in model.calibrated_classifiers_} != {"sigmoid"}:
        raise SystemExit(f"the published model is another one than described here: {differing}")


def weights_of(vectorizer: object, model: object) -> dict[str, np.ndarray]:
    """Return the arrays that LinearTextModel.load reads."""
    words = sorted(vectorizer.vocabulary_)
    order = [vectorizer.vocabulary_[word] for word in words]
    weights, biases = [], []
    for fold in model.calibrated_classifiers_:
        (calibrator,) = fold.calibrators
        weights.append(-calibrator.a_ * fold.estimator.coef_[0, order])
        biases.append(-(calibrator.a_ * fold.estimator.intercept_[0] + calibrator.b_))
    return {
        "words": np.frombuffer("\n".join(words).encode(), dtype=np.uint8),
        "idf": vectorizer.idf_[order],
        "weights": np.ascontiguousarray(np.transpose(weights)),
        "biases": np.array(biases),
    }


if __name__ == "__main__":
    main()
