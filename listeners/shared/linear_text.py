"""Published linear text classifiers on numpy alone: no pickle, no scikit-learn.

Computes what scikit-learn's TfidfVectorizer (single words, lower case, smooth idf, L2 norm) and
calibrated linear classifiers compute, from arrays that were taken out of them once.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

_CHUNK = 256
_find_words = re.compile(r"\b\w\w+\b").findall


class LinearTextModel:
    """Bag of words -> idf -> L2 norm -> one sigmoid per fold -> their mean."""

    def __init__(
        self,
        words: Sequence[str],
        idf: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64],
        biases: npt.NDArray[np.float64],
    ) -> None:
        """Take one idf and one row of ``weights`` per word, and one bias per fold."""
        if idf.shape != (len(words),) or weights.shape != (len(words), len(biases)):
            raise ValueError(
                f"{len(words)} words, idf {idf.shape}, weights {weights.shape} and biases "
                f"{biases.shape} do not fit together"
            )
        self._columns = {word: column for column, word in enumerate(words)}
        self._idf = idf
        self._weights = weights
        self._biases = biases

    @classmethod
    def load(cls, path: Path) -> "LinearTextModel":
        """Return the model of an ``.npz`` that packaging/vendor_weights.py wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            words = arrays["words"].tobytes().decode("utf-8").split("\n")
            return cls(words, arrays["idf"], arrays["weights"], arrays["biases"])

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the probability of each text, in [0, 1]."""
        scores = np.empty(len(texts))
        for start in range(0, len(texts), _CHUNK):
            scores[start : start + _CHUNK] = self._score_chunk(texts[start : start + _CHUNK])
        return scores

    def _score_chunk(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        columns: list[int] = []
        counts: list[int] = []
        ends = [0]
        for text in texts:
            counted = self._count_words(text)
            columns.extend(counted)
            counts.extend(counted.values())
            ends.append(len(columns))
        values = np.array(counts, dtype=np.float64) * self._idf[columns]
        rows = self._weights[columns]
        decisions = np.zeros((len(texts), len(self._biases)))
        for row, (start, end) in enumerate(pairwise(ends)):
            if start < end:
                own = values[start:end]
                decisions[row] = own @ rows[start:end] / np.sqrt(own @ own)
        return _sigmoid(decisions + self._biases).mean(axis=1)

    def _count_words(self, text: str) -> dict[int, int]:
        column_of = self._columns.get
        counted: dict[int, int] = {}
        for word in _find_words(text.lower()):
            column = column_of(word)
            if column is not None:
                counted[column] = counted.get(column, 0) + 1
        return counted


def _sigmoid(decisions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # tanh does not overflow, whatever the decision is.
    return 0.5 * (1.0 + np.tanh(0.5 * decisions))
