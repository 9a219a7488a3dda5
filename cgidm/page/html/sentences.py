"""What the numbers of a record mean, in sentences: HTML, in the visitor's language.

A record may be older than this program: what it does not hold is not spoken of.
"""

from collections.abc import Mapping
from math import comb
from typing import Any

from cgidm.judging.verdict import LEAST_POWER, LEVEL

from .i18n import say_if_known
from .markup import as_number, english, outcome_of, plain_p, words, words_if_known
from .svg import finite

VERDICT_SCORE = "loss_contrast"
PERCENT = round(100 * LEVEL)


def picture_sentence(picture: Mapping[str, Any], record: Mapping[str, Any], language: str) -> str:
    """Why one picture's outcome is what it is; in the record's own English where there are no other words."""
    n, p, look = len(record["control_scores"]), picture.get("p_value"), outcome_of(picture)[1]
    if p is not None and look != "unclear":
        times = round(p * (n + 1))
        silent = "sentence.no_better" if p <= LEVEL else "sentence.none"
        key = against(record, "sentence.consistent" if look == "consistent" else silent)
        counts = {"n": n, "higher": times - 1, "times": times, "of": n + 1}
        return words(language, key, **counts, p=plain_p(p))
    if _is_silent(picture, record):
        return _weak_sentence(picture, record, language)
    for flag in picture.get("flags") or []:
        return flag_words(flag, language)
    if not finite([as_number(picture["scores"].get(VERDICT_SCORE))]):
        return words(language, "sentence.no_score")
    if 1 / (n + 1) > LEVEL:
        key, need = against(record, "sentence.few"), round(1 / LEVEL) - 1
        return words(language, key, n=n, need=need, level=PERCENT)
    return english(picture.get("reason"))


def set_sentence(record: Mapping[str, Any], language: str) -> str:
    """The same for all pictures together."""
    together, pictures, n = record["set"], record["pictures"], len(record["control_scores"])
    p, look = together.get("p_value"), outcome_of(together)[1]
    if p is not None and look != "unclear":
        silent = "sentence.set.no_better" if p <= LEVEL else "sentence.set.none"
        key = against(record, "sentence.set.consistent" if look == "consistent" else silent)
        return words(language, key, pictures=together["pictures"], n=n, p=plain_p(p))
    if _is_silent(together, record):
        return _weak_sentence(together, record, language)
    for flag in (f for picture in pictures for f in picture.get("flags") or []):
        return flag_words(flag, language)
    if len(finite([as_number(p["scores"].get(VERDICT_SCORE)) for p in pictures])) < len(pictures):
        return words(language, "sentence.no_score")
    if min(n, len(pictures)) < 2 or 1 / comb(n + len(pictures), n) > LEVEL:
        key = against(record, "sentence.set.few")
        return words(language, key, pictures=together["pictures"], n=n, level=PERCENT)
    return english(together.get("reason"))


def rate_sentence(record: Mapping[str, Any], language: str) -> str:
    """How often one picture's answer is wrong."""
    n = len(record["control_scores"])
    return words(language, against(record, "rate"), level=PERCENT, n=n, lowest=plain_p(1 / (n + 1)))


def set_rate_sentences(record: Mapping[str, Any], language: str) -> list[str]:
    """How often the answer for a set is wrong, how many of it were used, and what is left of the single answers."""
    together = record["set"]
    said = [words(language, "rate.set", level=PERCENT)]
    if used := together.get("used"):
        said.insert(0, used_sentence(used, together["pictures"], language))
    if adjusted := together.get("adjusted"):
        left = sum(p is not None and p <= LEVEL for p in adjusted)
        said.append(words(language, "set.holm", left=left, n=len(adjusted), p=plain_p(LEVEL), level=PERCENT))
    return said


def used_sentence(used: Mapping[str, Any], pictures: int, language: str) -> str:
    """The bounds on how many of a set were used, with their error rate."""
    low, high = used["low"], used["high"] if used["bounded_above"] else pictures
    if high == pictures and low < high:
        key = "used.least" if low else "used.unknown"  # what is certain anyway is not said
    elif low == high:
        key = "used.exactly"
    else:
        key = "used.between" if low else "used.most"
    return words(language, key, low=low, high=high, n=pictures, sure=100 - PERCENT)


def power_sentences(record: Mapping[str, Any], language: str, judged: Mapping[str, Any] | None = None) -> list[str]:
    """What share of used pictures would be found, as the record says it; nothing of a record that does not.

    Nor where it is why `judged` was not: then it has been said.
    """
    if "power" not in record or (judged is not None and _is_silent(judged, record)):
        return []
    return [power_sentence(record["power"], language)]


def power_sentence(power: Any, language: str) -> str:
    """What share of used pictures is found in such a suspect, and what its silence is worth. None: nobody knows."""
    known = finite([as_number(power)])
    if not known:
        return words(language, "power.unknown")
    key = "power.weak" if known[0] < LEAST_POWER else "power"
    return words(language, key, power=round(100 * known[0]), level=PERCENT)


def view_sentences(picture: Mapping[str, Any], record: Mapping[str, Any], language: str) -> list[str]:
    """Which view of a picture gave its score, where several were looked at."""
    views = (record.get("config") or {}).get("views") or []
    if len(views) < 2 or "view" not in picture or picture["scores"].get(VERDICT_SCORE) is None:
        return []
    return [words(language, "view.found", n=len(views), view=view_name(picture["view"], language))]


def view_name(view: Any, language: str) -> str:
    """A view's name, plain text."""
    return say_if_known(language, f"view.name.{view}") or str(view)


def bank_sentences(record: Mapping[str, Any], language: str) -> list[str]:
    """Which models the null scores are of, where there are no control pictures."""
    bank = record.get("bank")
    if not bank:
        return []
    return [words(language, "bank.about", models=bank["models"], pictures=bank["pictures"])]


def flag_words(flag: Mapping[str, Any], language: str) -> str:
    """What a flag says; in English where there are no other words."""
    return words_if_known(language, f"flag.{flag.get('name')}") or english(flag.get("explanation"))


def against(record: Mapping[str, Any], key: str) -> str:
    """The key of the words that speak of what the scores were compared with: control pictures, or null scores."""
    return f"{key}.bank" if record.get("bank") else key


def _is_silent(judged: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Was nothing found, in a suspect whose silence means nothing?"""
    known = finite([as_number(record.get("power"))])
    unclear = outcome_of(judged)[1] == "unclear" and judged.get("p_value") is not None
    return unclear and bool(known) and known[0] < LEAST_POWER


def _weak_sentence(judged: Mapping[str, Any], record: Mapping[str, Any], language: str) -> str:
    power = round(100 * record["power"])
    return words(language, "sentence.weak", power=power, level=PERCENT, p=plain_p(judged["p_value"]))
