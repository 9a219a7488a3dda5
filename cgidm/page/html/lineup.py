"""What the page shows of a line-up, as HTML: what it is for, the rounds as an observer sees them, what choices come to.

`round_html` is what an observer sees. It knows numbers and letters alone, so that it cannot betray the key.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cgidm.evidence.lineup_sheet import ROLES, panel_name
from cgidm.judging.lineup import LETTERS, UNKNOWN, Lineup, LineupVerdict, judge_lineup, lineup_p_value, read_lineup
from cgidm.judging.verdict import LEVEL

from .markup import bullets, card, headed_table, picture_source, plain_p, whole, words

PERCENT = round(100 * LEVEL)


def offer_html(record: Mapping[str, Any], choices: Sequence[Sequence[str]], language: str) -> str:
    """What the line-up of a record is for, and what has been chosen in it; nothing if it has none."""
    lineup = read_lineup(record)
    if lineup is None:
        return ""
    said = [words(language, "lineup.about"), words(language, "lineup.observer"), _reach(lineup, language)]
    if lineup.left_out:
        said.append(words(language, "lineup.left_out", n=len(lineup.left_out), of=len(record["pictures"])))
    title = words(language, "lineup.title")
    parts = [f'<section class="cg-caveat"><h3>{title}</h3>{bullets(said)}</section>']
    for number, picks in enumerate(choices, 1):
        parts.append(f"<h3>{words(language, 'lineup.person', n=number)}</h3>{_told(lineup, picks, language)}")
    if choices:
        notes = ["lineup.separate"] if len(choices) > 1 else []
        parts.append("".join(f"<p>{words(language, key)}</p>" for key in (*notes, "lineup.after")))
    return whole(parts, language)


def round_html(sizes: Sequence[int], number: int, folder: str, language: str) -> str:
    """One round as an observer sees it; rounds count from 1, `folder` is the address of the images."""
    size = sizes[number - 1]
    instructions = bullets([words(language, f"lineup.rule.{n}") for n in range(1, 5)])
    heading = words(language, "lineup.round", n=number, of=len(sizes))
    panels = "".join(_panel(number, letter, folder, language) for letter in LETTERS[:size])
    return whole([instructions, f"<h3>{heading}</h3>", f'<div class="cg-panels">{panels}</div>'], language)


def told_html(lineup: Lineup, picks: Sequence[str], language: str) -> str:
    """What one observer's choices come to, and where the pictures stood."""
    return whole([_told(lineup, picks, language), f"<p>{words(language, 'lineup.after')}</p>"], language)


def _panel(number: int, letter: str, folder: str, language: str) -> str:
    images = []
    for role in ROLES:
        source, caption = picture_source(f"{folder}/{panel_name(number, letter, role)}"), words(language, role)
        image = f'<img src="{source}" alt="{letter}: {caption}">'
        images.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    return f'<section class="cg-panel" aria-label="{letter}"><h3>{letter}</h3>{"".join(images)}</section>'


def _told(lineup: Lineup, picks: Sequence[str], language: str) -> str:
    judged, n = judge_lineup(lineup, picks), len(lineup.rounds)
    title = words(language, "lineup.hits", hits=judged.hits, n=n)
    lines = [words(language, "lineup.chance", p=plain_p(judged.p_value)), _meaning(lineup, judged, language)]
    heads = [words(language, f"lineup.head.{name}") for name in ("round", "chosen", "picture", "right")]
    rows = [
        (str(number), pick if pick != UNKNOWN else "—", r.letter, words(language, "yes" if right else "no"))
        for number, (r, pick, right) in enumerate(zip(lineup.rounds, picks, judged.right, strict=True), 1)
    ]
    look = "consistent" if judged.p_value <= LEVEL else "none"
    return card(look, title, lines) + headed_table("told", words(language, "lineup.key"), heads, rows, set())


def _meaning(lineup: Lineup, judged: LineupVerdict, language: str) -> str:
    if judged.p_value <= LEVEL:
        return words(language, "lineup.stands_out")
    if _lowest(lineup) > LEVEL:
        return _reach(lineup, language)
    return words(language, "lineup.may_be_chance")


def _reach(lineup: Lineup, language: str) -> str:
    """How low a p-value these rounds allow."""
    key = "lineup.reach" if _lowest(lineup) <= LEVEL else "lineup.reach.short"
    values = {"n": len(lineup.rounds), "size": max(lineup.sizes), "lowest": plain_p(_lowest(lineup)), "level": PERCENT}
    return words(language, key, **values)


def _lowest(lineup: Lineup) -> float:
    return lineup_p_value(lineup.sizes, len(lineup.rounds))
