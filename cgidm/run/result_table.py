"""The result of a run as a table of a terminal: scores, p-values, outcomes, and what each test says by itself."""

from collections.abc import Sequence

from ..judging.lineup import explain_reach
from ..judging.mirror_test import MirrorReference, likelihood_note
from ..judging.result import Result
from ..judging.tables.power import RunPower, StatedPower
from ..judging.verdict import LEVEL, Witness
from ..messages.text import print_line, single_line
from ..method.views import AS_GIVEN


def print_table(result: Result, lineup_file: str) -> None:
    """Print one line a picture: scores, p-value, outcome; `lineup_file` is shown to an observer."""
    names = list(dict.fromkeys(name for r in result.pictures for name in r.scores))
    print_line("  ".join([f"{'picture':32s}", *[f"{n:>18s}" for n in names], f"{'p':>6s}", "outcome"]))
    for r in result.pictures:
        p = "-" if r.verdict.p_value is None else f"{r.verdict.p_value:.3f}"
        scores = [f"{r.scores[n]:18.4f}" if n in r.scores else f"{'-':>18s}" for n in names]
        seen = "" if r.view == AS_GIVEN else f" (its view {r.view})"
        name = single_line(r.picture.name)
        name = name if len(name) <= 32 else f"…{name[-31:]}"
        print_line("  ".join([f"{name:32s}", *scores, f"{p:>6s}", r.verdict.outcome + seen]))
        for line in _witness_lines(r.verdict.witnesses, result.bank is not None):
            print_line(f"    {line}")
        if r.likelihood is not None:
            print_line(f"    {likelihood_note(r.likelihood.ratio, r.likelihood.low)}")
    if (together := result.together) is not None:
        print_line(f"together: {together.outcome}. {together.reason}")
        if (used := together.used) is not None:
            many = f"{used.low} to {used.high}" if used.bounded_above else f"at least {used.low}"
            print_line(f"used: {many} of {together.pictures}, with an error rate of {LEVEL:.0%}")
    if result.lineup is not None:
        said = explain_reach(result.lineup.sizes)
        print_line(f"line-up: {lineup_file}, to be shown to somebody who has not seen the pictures. {said}")
    judged = [*(r.verdict for r in result.pictures), *([] if together is None else [together])]
    known = RunPower(
        expected=result.expected_power,
        controls=result.control_power,
        bank=result.bank is not None,
        mirrored_training=result.mirrored_training,
        mirror_by_bank=isinstance(result.mirror, MirrorReference) and result.mirror.source == "bank",
    )
    power = known.behind_all(judged)
    if power is not None:
        print_line(_power_line(power))
    for name, reason in result.not_computed.items():
        print_line(f"{name}: {reason}")
    for r in result.pictures:
        for told in r.picture.notes:
            print_line(f"{single_line(r.picture.name)}: {told}")


def _power_line(power: StatedPower) -> str:
    """What share of used pictures would be found, where nothing was found."""
    rate = f"at {LEVEL:.0%} false positives"
    if power.test == "bank":
        unless = ", and fewer if the suspect's training mirrored the pictures" if power.unless_mirrored else ""
        return f"of the pictures that the bank's own models were trained on, {power.share:.0%} are found {rate}{unless}"
    unless = ", unless the training mirrored the pictures" if power.unless_mirrored else ""
    return (
        f"in nearly all suspects that moved as far from their base, {power.share:.0%} or more of used pictures are "
        f"found {rate}{unless}"
    )


def _witness_lines(witnesses: Sequence[Witness], bank: bool) -> list[str]:
    """What each test says by itself."""
    names = {"mirror": "mirror test", "controls": "bank" if bank else "controls"}
    return [
        f"{names[w.name]}: {w.silent}"
        if w.p_value is None
        else f"{names[w.name]}: p = {w.p_value:.2g} of {w.references}"
        for w in witnesses
    ]
