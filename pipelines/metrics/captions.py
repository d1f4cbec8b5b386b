"""Words that captions share: BLEU, ROUGE-L, and what the COCO caption scorer computes.

Papineni et al. 2002 (BLEU), Lin 2004 (ROUGE), Vedantam et al. 2015 (CIDEr), Denkowski and Lavie
2014 (METEOR 1.5). The arithmetic is that of torchmetrics and of ``pycocoevalcap``, the scorer of
the COCO captions challenge; only what counts as a word is decided here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from phosphene.errors import AssetError, InputError, UsageError, check_option
from phosphene.names import require

__all__ = [
    "CaptionReferences",
    "bleu",
    "bleu_from_statistics",
    "bleu_statistics",
    "caption_words",
    "check_captions",
    "coco_scores",
    "missing_java",
    "missing_spice",
    "missing_wordnet",
    "rouge",
]

Array = np.ndarray[Any, Any]
CaptionReferences = Sequence[str] | Sequence[Sequence[str]]
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
ORDERS = 4
JAVA_SECONDS = 30


def caption_words(text: str) -> list[str]:
    """Return the words of a caption: lower case, without punctuation.

    A hyphen or an apostrophe inside a word belongs to it.

    Examples
    --------
    >>> caption_words("A half-open door; it's RED!")
    ['a', 'half-open', 'door', "it's", 'red']
    """
    return WORD.findall(text.lower())


def check_captions(
    predicted: Sequence[str], references: CaptionReferences
) -> tuple[list[str], list[list[str]]]:
    """Return predictions, and one list of references for each.

    Raises
    ------
    InputError
        If there are not as many of both, something is no text, or a caption has no reference
        with a word in it.
    """
    if isinstance(predicted, str) or isinstance(references, str):
        raise InputError("one text", expected="a list of captions", remedy="put it into a list")
    if len(predicted) != len(references):
        raise InputError(
            f"{len(predicted)} captions beside references of {len(references)}",
            expected="references for every caption, in the same order",
        )
    several = [[one] if isinstance(one, str) else list(one) for one in references]
    for row, texts in enumerate(several):
        if not all(isinstance(text, str) for text in [predicted[row], *texts]):
            raise InputError(f"caption {row} or a reference of it is no text", "text")
        if not any(caption_words(text) for text in texts):
            raise InputError(f"caption {row} has no reference with a word in it", "one at least")
    return list(predicted), several


def bleu_statistics(predicted: Sequence[str], references: CaptionReferences) -> Array:
    """Return what BLEU counts in each caption.

    Returns
    -------
    ndarray of shape (n, 10)
        Matched n-grams of 1 to 4 words, n-grams that there are, words of the caption, words of
        the reference whose length is nearest (of two as near, the shorter). BLEU of any set is a
        function of their sum.
    """
    metric = require("torchmetrics.text", "metrics").BLEUScore(n_gram=ORDERS)
    rows = np.zeros((len(predicted), 2 * ORDERS + 2))
    for row, (text, texts) in enumerate(zip(*check_captions(predicted, references), strict=True)):
        metric.reset()
        # In order of length: of two that are as near, the first one counts.
        ordered = sorted((_spaced(one) for one in texts), key=lambda one: (one.count(" "), one))
        metric.update([_spaced(text)], [ordered])
        parts = (metric.numerator, metric.denominator, metric.preds_len, metric.target_len)
        rows[row] = np.concatenate([np.atleast_1d(part.numpy()) for part in parts])
    return rows


def bleu_from_statistics(statistics: Array, order: int = ORDERS) -> float:
    """Return BLEU of the captions whose counts :func:`bleu_statistics` gave.

    Parameters
    ----------
    statistics : ndarray of shape (n, 10)
    order : int
        Longest n-gram, 1 to 4; all lengths weigh the same.
    """
    if not 1 <= order <= ORDERS:
        raise UsageError(f"`order` is {order}", expected=f"1 to {ORDERS}")
    total = np.asarray(statistics, dtype=np.float64).reshape(-1, 2 * ORDERS + 2).sum(axis=0)
    matched, found = total[:order], total[ORDERS : ORDERS + order]
    words, nearest = total[2 * ORDERS :]
    if matched.min() == 0:
        return 0.0
    brevity = min(0.0, 1 - nearest / words)
    return float(np.exp(brevity + np.log(matched / found).mean()))


def bleu(predicted: Sequence[str], references: CaptionReferences, *, order: int = ORDERS) -> float:
    """Return BLEU of a set of captions, without smoothing.

    Parameters
    ----------
    predicted : sequence of str
    references : sequence of str, or of sequences of str
        One or several for each caption.
    order : int
        Longest n-gram: 4 for BLEU-4.

    Returns
    -------
    float
        0 to 1; 0 where no n-gram of some length was found. It is no mean over captions: long
        captions count more.

    Examples
    --------
    >>> bleu(["a red bus"], [["A red bus."]], order=2)
    1.0
    """
    return bleu_from_statistics(bleu_statistics(predicted, references), order)


def rouge(
    predicted: Sequence[str],
    references: CaptionReferences,
    *,
    key: Literal["rouge1", "rouge2", "rougeL"] = "rougeL",
) -> Array:
    """Return the F score (n,) of shared words or of the longest common subsequence.

    Of several references the best one counts. No stemming.
    """
    check_option("key", key, ("rouge1", "rouge2", "rougeL"))
    score = require("torchmetrics.functional.text", "metrics").rouge_score
    pairs = zip(*check_captions(predicted, references), strict=True)
    return np.array(
        [
            float(
                score(
                    [text],
                    [texts],
                    rouge_keys=key,
                    accumulate="best",
                    normalizer=_spaced,
                    tokenizer=str.split,
                )[f"{key}_fmeasure"]
            )
            for text, texts in pairs
        ]
    )


def coco_scores(
    predicted: Sequence[str],
    references: CaptionReferences,
    *,
    scorer: Literal["cider", "meteor", "rouge"],
) -> Array:
    """Return the score (n,) that the COCO caption scorer gives each caption.

    Parameters
    ----------
    predicted, references
        As for :func:`bleu`.
    scorer : {"cider", "meteor", "rouge"}
        ``cider`` (CIDEr-D, 0 to 10) weighs n-grams by how few of the captions' references have
        them, so that a score depends on the other captions of the set. ``meteor`` runs METEOR 1.5
        in Java. ``rouge`` is ROUGE-L with beta 1.2, from the best precision and the best recall
        over the references.

    Raises
    ------
    AssetError
        If ``pycocoevalcap``, or Java for METEOR, is not there.
    """
    check_option("scorer", scorer, ("cider", "meteor", "rouge"))
    texts, several = check_captions(predicted, references)
    if not texts:
        return np.zeros(0)
    found = {row: [_spaced(text)] for row, text in enumerate(texts)}
    known = {row: [_spaced(text) for text in few] for row, few in enumerate(several)}
    if scorer == "meteor" and (reason := missing_java()):
        raise AssetError(f"METEOR cannot run: {reason}", remedy="install a Java runtime")
    name = {"cider": "Cider", "meteor": "Meteor", "rouge": "Rouge"}[scorer]
    computer = getattr(require(f"pycocoevalcap.{scorer}.{scorer}", "captions"), name)()
    return np.asarray(computer.compute_score(known, found)[1], dtype=np.float64)


def missing_java(spec: object = None) -> str | None:
    """Return why METEOR cannot run here, or None."""
    java = shutil.which("java")
    if java is None:
        return "METEOR 1.5 is a Java program and there is no java"
    try:
        subprocess.run([java, "-version"], capture_output=True, check=True, timeout=JAVA_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        return f"METEOR 1.5 is a Java program and java does not run ({type(error).__name__})"
    return None


def missing_spice(spec: object = None) -> str:
    """Return why SPICE is absent."""
    return (
        "SPICE parses captions with Stanford CoreNLP 3.6, whose models (about 700 MB) no Python "
        "package carries and its scorer fetches while it runs"
    )


def missing_wordnet(spec: object = None) -> str:
    """Return why the METEOR of NLTK is absent."""
    return (
        "this METEOR looks synonyms up in WordNet data, which NLTK fetches while it runs; "
        "meteor/coco-v1 carries its own tables"
    )


def _spaced(text: str) -> str:
    """Return the words of a caption with one space between them."""
    return " ".join(caption_words(text))
