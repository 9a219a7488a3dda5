"""What the numbers of a record mean, in sentences: HTML, in the visitor's language."""

from math import comb

from cgidm.evidence.record import MEAN_POWER, BankRecord, FlagRecord, PictureRecord, Record, SetRecord, UsedRecord
from cgidm.evidence.reports.silence import power_of_answer, power_of_run
from cgidm.judging.tables.power import StatedPower, is_silence
from cgidm.judging.verdict import LEAST_POWER, LEVEL, STRICT_LEVEL

from .i18n import translate_if_known, translate_note
from .markup import format_p_value, html_text, note_html, outcome_style
from .svg import finite_values

VERDICT_SCORE, MIRROR_SCORE, INNER_MIRROR_SCORE = "loss_contrast", "mirror", "mirror_of_square"
PERCENT, STRICT_PERCENT = round(100 * LEVEL), round(100 * STRICT_LEVEL)
POSITIVE = ("consistent", "weak")  # styles of outcomes


def picture_sentence(picture: PictureRecord, record: Record, language: str) -> str:
    """Explain one picture's outcome."""
    if by_mirror(picture):
        return note_html(picture.reason, language)
    n, p, style = len(record.control_scores), known_p_value(picture), outcome_style(picture)[1]
    if p is not None and style != "unclear":
        times = round(p * (n + 1))
        other = "sentence.no_better" if p <= LEVEL else "sentence.none"
        key = comparison_key(record, "sentence.consistent" if style in POSITIVE else other)
        counts = {"n": n, "higher": times - 1, "times": times, "of": n + 1}
        sentence = html_text(language, key, **counts, p=format_p_value(p))
        if style == "weak" and times == 1:  # so few scores could not have shown more
            sentence += f" {html_text(language, 'sentence.few_for_more', need=round(1 / STRICT_LEVEL) - 1)}"
        return sentence
    if p is not None:
        return _weak_sentence(picture, record, language)
    for flag in picture.flags:
        return flag_html(flag, language)
    if 1 / (n + 1) > LEVEL:
        key, need = comparison_key(record, "sentence.few"), round(1 / LEVEL) - 1
        return html_text(language, key, n=n, need=need, level=PERCENT)
    if not finite_values([picture.scores.get(VERDICT_SCORE)]):
        return html_text(language, "sentence.no_score")
    return note_html(picture.reason, language)


def set_sentence(together: SetRecord, record: Record, language: str) -> str:
    """Explain the outcome of all pictures together."""
    if by_mirror(together):
        return note_html(together.reason, language)
    pictures, n = record.pictures, len(record.control_scores)
    p, style = known_p_value(together), outcome_style(together)[1]
    if p is not None and style != "unclear":
        other = "sentence.set.no_better" if p <= LEVEL else "sentence.set.none"
        key = comparison_key(record, "sentence.set.consistent" if style in POSITIVE else other)
        return html_text(language, key, pictures=together.pictures, n=n, p=format_p_value(p))
    if p is not None:
        return _weak_sentence(together, record, language)
    if together.reason.code.startswith("judging.flag."):
        return note_html(together.reason, language)
    if min(n, together.pictures) < 2 or 1 / comb(n + together.pictures, n) > LEVEL:
        key = comparison_key(record, "sentence.set.few")
        return html_text(language, key, pictures=together.pictures, n=n, level=PERCENT)
    if len(finite_values([p.scores.get(VERDICT_SCORE) for p in pictures])) < len(pictures):
        return html_text(language, "sentence.no_score")
    return note_html(together.reason, language)


def rate_sentence(record: Record, language: str) -> str:
    """State how often one picture's answer is wrong."""
    if by_mirror(record.pictures[0]):
        key = "rate.both" if by_both(record.pictures[0]) else "rate.mirror"
        return html_text(language, key, level=PERCENT, strict=STRICT_PERCENT)
    n = len(record.control_scores)
    lowest = format_p_value(1 / (n + 1))
    counts = {"level": PERCENT, "strict": STRICT_PERCENT, "n": n, "lowest": lowest}
    return html_text(language, comparison_key(record, "rate"), **counts)


def by_mirror(judged: PictureRecord | SetRecord) -> bool:
    """Tell whether the mirror test decides an answer."""
    return any(w.name == "mirror" and w.p_value is not None for w in judged.witnesses)


def by_both(judged: PictureRecord | SetRecord) -> bool:
    """Tell whether the mirror test and a bank decide an answer together."""
    return judged.reason.code.startswith("judging.both.")


def witness_sentences(judged: PictureRecord | SetRecord, record: Record, language: str) -> list[str]:
    """State what each test says by itself, if the mirror test was asked."""
    if not any(w.name == "mirror" for w in judged.witnesses):
        return []
    sentences = []
    for witness in judged.witnesses:
        p = known_share(witness.p_value)
        if p is not None and witness.name in ("mirror", "controls"):
            by_bank = record.mirror is not None and record.mirror.source == "bank"
            of_mirror = "witness.mirror.bank" if by_bank else "witness.mirror"
            key = of_mirror if witness.name == "mirror" else comparison_key(record, "witness.controls")
            sentences.append(html_text(language, key, p=format_p_value(p), n=witness.references))
        elif witness.name == "mirror" and witness.silent is not None and witness.silent != judged.reason:
            reason = translate_note(language, witness.silent)
            sentences.append(html_text(language, "witness.mirror.silent", reason=reason))
    return sentences


def set_rate_sentences(together: SetRecord, language: str) -> list[str]:
    """State how often a set's answer is wrong, how many pictures were used, and what correction leaves of the rest."""
    sentences = [html_text(language, "rate.set", level=PERCENT, strict=STRICT_PERCENT)]
    if together.used is not None:
        sentences.insert(0, used_sentence(together.used, together.pictures, language))
    if together.adjusted:
        left = sum(p is not None and p <= LEVEL for p in together.adjusted)
        values = {"left": left, "n": len(together.adjusted), "p": format_p_value(LEVEL), "level": PERCENT}
        sentences.append(html_text(language, "set.holm", **values))
    if together.adjusted_bh:
        found = sum(p is not None and p <= LEVEL for p in together.adjusted_bh)
        values = {"found": found, "n": len(together.adjusted_bh), "p": format_p_value(LEVEL), "level": PERCENT}
        sentences.append(html_text(language, "set.bh", **values))
    return sentences


def used_sentence(used: UsedRecord, pictures: int, language: str) -> str:
    """State the bounds on how many of a set were used, with their error rate."""
    low, high = used.low, used.high if used.bounded_above else pictures
    if high == pictures and low < high:
        key = "used.least" if low else "used.unknown"  # a bound that always holds is left out
    elif low == high:
        key = "used.exactly"
    else:
        key = "used.between" if low else "used.most"
    return html_text(language, key, low=low, high=high, n=pictures, sure=100 - PERCENT)


def power_sentences(record: Record, language: str, judged: PictureRecord | SetRecord | None = None) -> list[str]:
    """State what share of used pictures is found, where nothing was found: of anything else it says nothing.

    It is left out where the sentence of `judged` has stated it, and of older records, whose share is a mean.

    Args:
        record: of the run.
        language: the visitor's language.
        judged: the answer, whose own tests count; None: of a run that was put down, all that it asks.
    """
    if record.format in MEAN_POWER and record.expected_power is not None:
        return []
    power = _known_power(power_of_run(record) if judged is None else power_of_answer(judged, record))
    if judged is not None and not _states_power(judged, record, power):
        return []
    if power is None:
        return [power_sentence(None, language)]
    more = [html_text(language, "power.mirrored")] if power.unless_mirrored else []
    return [power_sentence(power.share, language, bank=power.test == "bank"), *more]


def warning_sentences(power: float | None, language: str) -> list[str]:
    """Say before the long part that silence will mean nothing: the suspect is weak, or nobody measured such ones."""
    known = known_share(power)
    return [power_sentence(power, language)] if known is None or known < LEAST_POWER else []


def power_sentence(power: float | None, language: str, *, bank: bool = False) -> str:
    """State what share of used pictures is found in such a suspect, or by a bank. None: this was never measured."""
    known = known_share(power)
    if known is None:
        return html_text(language, "power.unknown")
    key = "power.weak" if known < LEAST_POWER else "power"
    key = "power.bank" if bank and known >= LEAST_POWER else key
    return html_text(language, key, power=round(100 * known), level=PERCENT)


def view_sentences(picture: PictureRecord, record: Record, language: str) -> list[str]:
    """Name the view that gave a picture its score, where several were scored."""
    views = record.config.views
    if len(views) < 2 or picture.scores.get(VERDICT_SCORE) is None:
        return []
    return [html_text(language, "view.found", n=len(views), view=view_name(picture.view, language))]


def view_name(view: str, language: str) -> str:
    """Return a view's name as plain text."""
    return translate_if_known(language, f"view.name.{view}") or view


def bank_sentences(bank: BankRecord | None, language: str) -> list[str]:
    """State which models the null scores come from, where a bank takes the place of control pictures."""
    if bank is None:
        return []
    return [html_text(language, "bank.about", models=bank.models, pictures=bank.pictures)]


def flag_html(flag: FlagRecord, language: str) -> str:
    """Return what a flag says."""
    return note_html(flag.note, language)


def comparison_key(record: Record, key: str) -> str:
    """Return the key of the text that speaks of null scores, where a bank takes the place of control pictures."""
    return key if record.bank is None else f"{key}.bank"


def known_p_value(judged: PictureRecord | SetRecord) -> float | None:
    """Return a p-value, or None if the record holds none or a number that is none."""
    return known_share(judged.p_value)


def known_share(value: float | None) -> float | None:
    """Return a number from 0 to 1; None for any other, which a hostile record may hold."""
    return value if value is not None and 0 <= value <= 1 else None


def _known_power(power: StatedPower | None) -> StatedPower | None:
    return None if power is None or known_share(power.share) is None else power


def _states_power(judged: PictureRecord | SetRecord, record: Record, power: StatedPower | None) -> bool:
    """Tell whether an answer is followed by the power of its tests."""
    if by_mirror(judged):
        return power is not None and is_silence(judged)
    style = outcome_style(judged)[1]
    if style in POSITIVE or _is_too_weak(judged, record):
        return False
    if power is None:  # never measured; or no test speaks, and it is left out if the run knows of one
        return known_p_value(judged) is not None or known_share(record.expected_power) is None
    return style == "none"


def _is_too_weak(judged: PictureRecord | SetRecord, record: Record) -> bool:
    """Tell whether nothing was found where so few used pictures would be found that this means nothing."""
    share = _weak_share(judged, record)
    unclear = outcome_style(judged)[1] == "unclear" and known_p_value(judged) is not None
    return unclear and share is not None and share < LEAST_POWER


def _weak_share(judged: PictureRecord | SetRecord, record: Record) -> float | None:
    """The share behind an answer by the controls or the bank; of an older record, as it states it."""
    if by_mirror(judged):
        return None
    if record.format in MEAN_POWER:
        return known_share(record.expected_power)
    power = _known_power(power_of_answer(judged, record))
    return None if power is None else power.share


def _weak_sentence(judged: PictureRecord | SetRecord, record: Record, language: str) -> str:
    """Say why it means nothing that nothing was found."""
    if not _is_too_weak(judged, record):
        return note_html(judged.reason, language)
    power = round(100 * (_weak_share(judged, record) or 0.0))
    p = format_p_value(known_p_value(judged))
    return html_text(language, "sentence.weak", power=power, level=PERCENT, p=p)
