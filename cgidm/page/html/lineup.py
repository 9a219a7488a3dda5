"""What the page shows of a line-up, as HTML: its purpose, its rounds as an observer sees them, what choices come to.

`round_html` is what an observer sees. It gets numbers and letters alone, so that it cannot give the key away.
"""

from collections.abc import Sequence

from cgidm.evidence.lineup_sheet import ROLES, panel_name
from cgidm.evidence.record import Record
from cgidm.judging.lineup import LETTERS, UNKNOWN, Lineup, LineupVerdict, Round, judge_lineup, lineup_p_value
from cgidm.judging.verdict import LEVEL

from .markup import bullets, card, format_p_value, headed_table, html_text, picture_source, wrap_page

PERCENT = round(100 * LEVEL)


def lineup_html(record: Record, choices: Sequence[Sequence[str]], language: str) -> str:
    """Explain the line-up of a run, and show what each observer chose; nothing if the run has no line-up."""
    if record.lineup is None:
        return ""
    lineup = Lineup(tuple(Round(r.picture, r.letter, r.decoys) for r in record.lineup.rounds))
    lines = [html_text(language, "lineup.about"), html_text(language, "lineup.observer"), _reach(lineup, language)]
    if left_out := len(record.lineup.left_out):
        lines.append(html_text(language, "lineup.left_out", n=left_out, of=len(record.pictures)))
    title = html_text(language, "lineup.title")
    parts = [f'<section class="cg-caveat"><h3>{title}</h3>{bullets(lines)}</section>']
    for number, picks in enumerate(choices, 1):
        heading = html_text(language, "lineup.person", n=number)
        parts.append(f"<h3>{heading}</h3>{_verdict(lineup, picks, language)}")
    if choices:
        notes = ["lineup.separate"] if len(choices) > 1 else []
        parts.append("".join(f"<p>{html_text(language, key)}</p>" for key in (*notes, "lineup.after")))
    return wrap_page(parts, language)


def round_html(sizes: Sequence[int], number: int, folder: str, language: str) -> str:
    """Show one round as an observer sees it.

    Args:
        sizes: how many panels each round shows.
        number: the round, counted from 1.
        folder: the address of the images.
        language: the visitor's language.
    """
    instructions = bullets([html_text(language, f"lineup.rule.{n}") for n in range(1, 5)])
    heading = html_text(language, "lineup.round", n=number, of=len(sizes))
    panels = "".join(_panel(number, letter, folder, language) for letter in LETTERS[: sizes[number - 1]])
    return wrap_page([instructions, f"<h3>{heading}</h3>", f'<div class="cg-panels">{panels}</div>'], language)


def lineup_verdict_html(lineup: Lineup, picks: Sequence[str], language: str) -> str:
    """Show what one observer's choices come to, and where the pictures stood."""
    after = f"<p>{html_text(language, 'lineup.after')}</p>"
    return wrap_page([_verdict(lineup, picks, language), after], language)


def _panel(number: int, letter: str, folder: str, language: str) -> str:
    images = []
    for role in ROLES:
        source, caption = picture_source(f"{folder}/{panel_name(number, letter, role)}"), html_text(language, role)
        image = f'<img src="{source}" alt="{letter}: {caption}">'
        images.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    return f'<section class="cg-panel" aria-label="{letter}"><h3>{letter}</h3>{"".join(images)}</section>'


def _verdict(lineup: Lineup, picks: Sequence[str], language: str) -> str:
    judged, n = judge_lineup(lineup, picks), len(lineup.rounds)
    title = html_text(language, "lineup.hits", hits=judged.hits, n=n)
    chance = html_text(language, "lineup.chance", p=format_p_value(judged.p_value))
    heads = [html_text(language, f"lineup.head.{name}") for name in ("round", "chosen", "picture", "right")]
    rows = [
        (str(number), pick if pick != UNKNOWN else "—", r.letter, html_text(language, "yes" if right else "no"))
        for number, (r, pick, right) in enumerate(zip(lineup.rounds, picks, judged.right, strict=True), 1)
    ]
    style = "consistent" if judged.p_value <= LEVEL else "none"
    table = headed_table("key", html_text(language, "lineup.key"), heads, rows, set())
    return card(style, title, [chance, _meaning(lineup, judged, language)]) + table


def _meaning(lineup: Lineup, judged: LineupVerdict, language: str) -> str:
    if judged.p_value <= LEVEL:
        return html_text(language, "lineup.stands_out")
    if _lowest_p_value(lineup) > LEVEL:
        return _reach(lineup, language)
    return html_text(language, "lineup.may_be_chance")


def _reach(lineup: Lineup, language: str) -> str:
    """State how low a p-value these rounds allow."""
    lowest = _lowest_p_value(lineup)
    key = "lineup.reach" if lowest <= LEVEL else "lineup.reach.short"
    values = {"n": len(lineup.rounds), "size": max(lineup.sizes), "lowest": format_p_value(lowest), "level": PERCENT}
    return html_text(language, key, **values)


def _lowest_p_value(lineup: Lineup) -> float:
    return lineup_p_value(lineup.sizes, len(lineup.rounds))
