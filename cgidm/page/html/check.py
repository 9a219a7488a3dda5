"""What a check of a zip shows, as HTML: grades, what it states, what nothing shows, the report in a closed frame."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cgidm.evidence.bundle_reader import FileProblem
from cgidm.evidence.recompute import Recomputation
from cgidm.evidence.record import PictureRecord, Record, SetRecord

from .markup import (
    bullets,
    card,
    escape_untrusted,
    file_name,
    format_p_value,
    html_text,
    note_html,
    outcome_style,
    wrap_page,
)
from .sentences import known_p_value

MOST_LINES = 30  # of problems, pictures and differences
# nothing in the report may run, be sent or fetched: its pictures are data
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
GRADES = ("whole", "consistent", "dated", "signed", "rerun")
MARKS = {True: ("●", "shown"), False: ("■", "wrong"), None: ("○", "open")}


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found out about a zip."""

    name: str
    files: int
    problems: tuple[FileProblem, ...] = ()  # none: it is whole
    seal: str | None = None
    signed: str | None = None  # the key, by its fingerprint
    not_by_signer: tuple[FileProblem, ...] = ()  # why the key that was given did not sign it
    derived: Recomputation | None = None  # None: too large to be derived here
    images: tuple[bytes, ...] = ()  # of the first pictures, as PNGs that are small enough to be shown

    @property
    def is_consistent(self) -> bool | None:
        """Whether what follows from the scores is what it says; None: that could not be told."""
        if self.derived is None or (self.derived.agrees and self.derived.gaps):
            return None
        return self.derived.agrees


def check_html(checked: Checked, record: Record | None, report: str | None, language: str) -> str:
    """Show what a check of a zip found.

    Args:
        checked: the findings.
        record: what the zip states; None if it is not whole.
        report: the report, made anew of the record; None: not shown.
        language: the visitor's.
    """
    parts = [_verdict(checked, language), _grades(checked, language), *_details(checked, language)]
    if record is not None:
        parts.append(_stated(record, checked.images, language))
    limits = bullets([html_text(language, f"check.limit.{n}") for n in ("seal", "claims", "scores", "chance", "law")])
    parts.append(f'<section class="cg-caveat"><h3>{html_text(language, "check.limits")}</h3>{limits}</section>')
    if record is not None:
        title = html_text(language, "check.report")
        framed = _frame(report, title) if report else f"<p>{html_text(language, 'check.no_report')}</p>"
        parts.append(f"<h3>{title}</h3><p>{html_text(language, 'check.report.about')}</p>{framed}")
    return wrap_page(parts, language)


def _verdict(checked: Checked, language: str) -> str:
    key = "altered" if checked.problems else "inconsistent" if checked.is_consistent is False else "whole"
    style = "none" if key == "whole" else "weak"
    lines = [html_text(language, f"check.{key}.about", name=checked.name, files=checked.files)]
    if checked.problems:
        lines.append(html_text(language, "check.altered.count", n=len(checked.problems)))
    return card(style, html_text(language, f"check.{key}"), lines)


def _grades(checked: Checked, language: str) -> str:
    whole = not checked.problems
    reached = {"whole": whole, "consistent": checked.is_consistent if whole else None}
    rows = []
    for grade in GRADES:
        mark, state = MARKS[reached.get(grade)]
        key = f"check.grade.{grade}.{state}"
        if grade == "signed" and checked.signed is not None:
            key = "check.grade.signed.unnamed"
        said = html_text(language, key)
        if grade == "signed" and checked.signed is not None:
            said += f"<br><code>{escape_untrusted(checked.signed)}</code>"
        rows.append(f'<li><span class="cg-glyph" aria-hidden="true">{mark}</span> {said}</li>')
    return f'<h3>{html_text(language, "check.grades")}</h3><ul class="cg-grades">{"".join(rows)}</ul>'


def _details(checked: Checked, language: str) -> list[str]:
    """What is wrong, and what could not be derived here."""
    wrong = [f"<code>{escape_untrusted(p.name)}</code>: {note_html(p.note, language)}" for p in checked.problems]
    if checked.derived is None:
        missing = [] if checked.problems else [html_text(language, "check.too_large_to_derive")]
    else:
        wrong += [f"<code>{escape_untrusted(d)}</code>" for d in checked.derived.differences]
        wrong += [
            f"<code>{escape_untrusted(p.name)}</code>: {note_html(p.note, language)}" for p in checked.derived.problems
        ]
        missing = [note_html(gap, language) for gap in checked.derived.gaps]
    found = []
    for key, items in (("wrong", wrong), ("not_derived", missing)):
        if items:
            more = [html_text(language, "check.more", n=len(items) - MOST_LINES)] if len(items) > MOST_LINES else []
            title = html_text(language, f"check.{key}")
            found.append(f"<h3>{title}</h3>{bullets([*items[:MOST_LINES], *more])}")
    return found


def _stated(record: Record, images: Sequence[bytes], language: str) -> str:
    """What whoever made it says: suspect, pictures, answers, date."""
    models = record.models
    rows = [
        ("suspect", f"<code>{escape_untrusted(models.suspect)}</code>"),
        ("base", f"<code>{escape_untrusted(models.base)}</code>"),
        ("date", escape_untrusted(record.date)),
        ("machine", escape_untrusted(record.machine.device_name)),
        ("version", escape_untrusted(record.code.version)),
    ]
    if record.set is not None:
        rows.append(("set", _answer(record.set, language)))
    shown = [*map(_image, images), *[""] * MOST_LINES]
    for picture, image in zip(record.pictures[:MOST_LINES], shown, strict=False):
        named = f"{image}<code>{escape_untrusted(file_name(picture.name))}</code><br>{_answer(picture, language)}"
        rows.append(("picture", f"{named}<br><small>SHA-256 <code>{escape_untrusted(picture.sha256)}</code></small>"))
    items = "".join(f"<dt>{html_text(language, f'check.stated.{key}')}</dt><dd>{value}</dd>" for key, value in rows)
    about = html_text(language, "check.stated.about")
    return f'<h3>{html_text(language, "check.stated")}</h3><p>{about}</p><dl class="cg-stated">{items}</dl>'


def _image(png: bytes) -> str:
    data = base64.b64encode(png).decode()
    return f'<img class="cg-checked" src="data:image/png;base64,{data}" alt=""><br>' if png else ""


def _answer(judged: PictureRecord | SetRecord, language: str) -> str:
    p = known_p_value(judged)
    said = html_text(language, outcome_style(judged)[0])
    return f"<strong>{said}</strong>" + ("" if p is None else f" (p = {format_p_value(p)})")


def _frame(report: str, title: str) -> str:
    """The report in a frame in which nothing runs, and from which nothing is sent or fetched."""
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    inner = report.replace("<meta charset='utf-8'>", f"<meta charset='utf-8'>{head}", 1)
    return (
        f'<iframe class="cg-report" sandbox="" referrerpolicy="no-referrer" title="{title}" '
        f'srcdoc="{escape(inner, quote=True)}"></iframe>'
    )
