"""Names close to a misspelt one.

Similarity is 1 minus the edit distance over the longer length, in lower case.
Source: reference/rest.md section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable

CANDIDATES_MAX = 500
NAME_BYTES_MAX = 200


def find_closest(text: str, candidates: Iterable[str], least: float) -> str | None:
    """The candidate most similar to `text`, if it reaches `least`.  None also when there are too
    many candidates to look through for one error."""
    if len(text) > NAME_BYTES_MAX:
        return None
    wanted = text.lower()
    pairs = _list_pairs(wanted)
    best: str | None = None
    best_score = least
    for count, candidate in enumerate(candidates):
        if count >= CANDIDATES_MAX:
            return None
        lowered = candidate.lower()
        if pairs.isdisjoint(_list_pairs(lowered)):
            continue
        score = measure_similarity(wanted, lowered, best_score)
        if score > best_score or (score == best_score and best is None):
            best, best_score = candidate, score
    return best


def _list_pairs(text: str) -> set[str]:
    """The pairs of neighbouring letters: words without a common one are not alike, and telling so
    is cheap."""
    padded = f"-{text}-"
    return {padded[at : at + 2] for at in range(len(padded) - 1)}


def measure_similarity(first: str, second: str, least: float = 0.0) -> float:
    """From 0 to 1.  Returns 0 early when `least` cannot be reached."""
    longer = max(len(first), len(second))
    if longer == 0:
        return 0.0
    budget = int(longer * (1 - least))
    if abs(len(first) - len(second)) > budget:
        return 0.0
    previous = list(range(len(second) + 1))
    for i, left in enumerate(first, 1):
        current = [i]
        for j, right in enumerate(second, 1):
            current.append(
                min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (left != right))
            )
        if min(current) > budget:
            return 0.0
        previous = current
    return 1 - previous[-1] / longer
