"""What the buttons of a line-up do: open it for an observer, go from round to round, judge the choice, leave it.

Until the choice is made, no answer of these functions holds more than the numbers of rounds and panels and the
addresses of images; the key stays in the record. What was chosen is kept on the server between two buttons.
"""

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from cgidm.evidence.record_of_result import lineup_of
from cgidm.judging.lineup import LETTERS, UNKNOWN, Lineup

from ..html.i18n import translate
from ..html.lineup import lineup_verdict_html, round_html
from ..html.views import View
from ..runs.store import Run, Visit
from .errors import refusal


@dataclass(frozen=True)
class Choosing:
    """One observer at work."""

    run: str
    picks: tuple[str, ...] = ()  # of the first rounds
    at: int = 1  # the round that is shown
    made: bool = False  # the choice, which is then not changed


def open_lineup(token: str, current: str, language: str) -> tuple[Choosing, View]:
    """Show the first round to somebody who has not chosen yet."""
    choosing = Choosing(current)
    return choosing, _round(choosing, *_find(token, current, language), language)


def turn(token: str, choosing: Choosing, pick: Any, by: int, language: str) -> tuple[Choosing, View]:
    """Go one round on (`by` = 1) or back (-1); whoever goes on has chosen."""
    run, lineup = _find(token, choosing.run, language)
    choosing = _choose(choosing, pick, lineup, language, needed=by > 0)
    choosing = replace(choosing, at=min(max(1, choosing.at + by), len(lineup.rounds)))
    return choosing, _round(choosing, run, lineup, language)


def finish(token: str, choosing: Choosing, pick: Any, language: str) -> tuple[Choosing, View]:
    """All rounds are chosen in: judge the choice and keep it. Then, and not before, the key is told."""
    run, lineup = _find(token, choosing.run, language)
    choosing = _choose(choosing, pick, lineup, language, needed=True)
    if len(choosing.picks) < len(lineup.rounds):
        raise refusal(translate(language, "lineup.choose"), language)
    run.keep_choice(choosing.picks)
    view = {"round": lineup_verdict_html(lineup, choosing.picks, language)}
    hidden = dict.fromkeys(("pick", "back", "next", "done"), gr.update(visible=False))
    return replace(choosing, made=True), view | hidden


def _find(token: str, current: str, language: str) -> tuple[Run, Lineup]:
    """A run of this visit and its line-up, as long as both are there."""
    run = Visit(token).find(current)
    record = None if run is None else run.record()
    lineup = None if record is None else lineup_of(record)
    if run is None or lineup is None or not run.lineup_dir.is_dir():
        raise refusal(translate(language, "error.gone"), language)
    return run, lineup


def _choose(choosing: Choosing, pick: Any, lineup: Lineup, language: str, needed: bool) -> Choosing:
    """Note what was chosen in the round that is shown."""
    if choosing.made:
        raise refusal(translate(language, "lineup.made"), language)
    if pick not in _letters(lineup, choosing.at):
        if needed:
            raise refusal(translate(language, "lineup.choose"), language)
        return choosing
    place = choosing.at - 1
    return replace(choosing, picks=(*choosing.picks[:place], pick, *choosing.picks[place + 1 :]))


def _letters(lineup: Lineup, at: int) -> tuple[str, ...]:
    return (*LETTERS[: lineup.sizes[at - 1]], UNKNOWN)


def _round(choosing: Choosing, run: Run, lineup: Lineup, language: str) -> View:
    at, last = choosing.at, choosing.at == len(lineup.rounds)
    labels = [(translate(language, "lineup.unknown") if c == UNKNOWN else c, c) for c in _letters(lineup, at)]
    chosen = choosing.picks[at - 1] if at <= len(choosing.picks) else None
    return {
        "round": round_html(lineup.sizes, at, f"/gradio_api/file={run.lineup_dir}", language),
        "pick": gr.update(choices=labels, value=chosen, visible=True),
        "back": gr.update(visible=at > 1),
        "next": gr.update(visible=not last),
        "done": gr.update(visible=last),
    }
