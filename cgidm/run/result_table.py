"""The result of a run as a table of a terminal: scores, p-values, outcomes, and what each test says by itself."""

from collections.abc import Sequence

from ..judging.lineup import explain_reach
from ..judging.mirror_test import MirrorReference, likelihood_note
from ..judging.result import Result
from ..judging.verdict import LEVEL, SILENT_MIRROR, Witness
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
    silent = any(v.outcome == "no evidence" or v.reason.code in SILENT_MIRROR for v in judged)
    if result.expected_power is not None and silent:  # of any other answer it says nothing
        unless = ", unless its training mirrored pictures" if isinstance(result.mirror, MirrorReference) else ""
        print_line(
            f"in nearly all suspects that moved as far from their base, {result.expected_power:.0%} or more of used "
            f"pictures are found at {LEVEL:.0%} false positives{unless}"
        )
    for name, reason in result.not_computed.items():
        print_line(f"{name}: {reason}")
    for r in result.pictures:
        for told in r.picture.notes:
            print_line(f"{single_line(r.picture.name)}: {told}")


def _witness_lines(witnesses: Sequence[Witness], bank: bool) -> list[str]:
    """What each test says by itself."""
    names = {"mirror": "mirror test", "controls": "bank" if bank else "controls"}
    return [
        f"{names[w.name]}: {w.silent}"
        if w.p_value is None
        else f"{names[w.name]}: p = {w.p_value:.2g} of {w.references}"
        for w in witnesses
    ]
