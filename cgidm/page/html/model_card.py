"""What a model is, as a card: what it was made from and how it was trained, in words for whoever was copied."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cgidm.intake.inspect import report_lines
from cgidm.messages import Note

from ..runs.hub_search import FoundModel
from .markup import bullets, escape_untrusted, html_text, note_html, picture_source, wrap_page

KINDS = {"adapter": "adapter", "textual inversion": "embedding"}  # kind of a checkpoint -> key; any other is "full"
MOST_FOLDERS = 6


def model_card_html(
    found: Mapping[str, Any], language: str, *, name: str, judged: str, shipped_base: str | None = None
) -> str:
    """Describe a checkpoint.

    Args:
        found: what `inspect_checkpoint` returned.
        language: the visitor's language.
        name: what the model is called here.
        judged: whether it can be judged on this machine, as HTML.
        shipped_base: the base of a model that ships.
    """
    kind = KINDS.get(found["kind"], "full")
    lines = [html_text(language, f"card.kind.{kind}"), _base(found, language, shipped_base)]
    lines += [note_html(_note(found["disagreement"]), language)] if found["disagreement"] else []
    lines += _training(found, language)
    lines.append(judged)
    lines += _publication(found, language)
    details = "\n".join(report_lines(dict(found)))
    folded = (
        f'<details class="cg-details"><summary>{html_text(language, "card.details")}</summary>'
        f'<pre lang="en">{escape(details)}</pre></details>'
    )
    title = (
        f'<p class="cg-model-name">{html_text(language, "card.title")} <strong>{escape_untrusted(name)}</strong></p>'
    )
    return wrap_page([f'<section class="cg-model">{title}{bullets(lines)}{folded}</section>'], language)


def refused_card_html(note: Note, name: str, language: str, more: str = "") -> str:
    """Say why a model cannot be judged or found; `more` is a further sentence, as HTML."""
    title = f'<p class="cg-model-name"><strong>{escape_untrusted(name)}</strong></p>' if name else ""
    return wrap_page(
        [f'<section class="cg-error" role="alert">{title}<p>{note_html(note, language)} {more}</p></section>'], language
    )


def found_models_html(found: Sequence[FoundModel], pictures: Sequence[str | None], language: str) -> str:
    """List what a search found: each is a button that holds the model's name.

    Args:
        found: the models.
        pictures: a data URL for each, or None.
        language: the visitor's language.
    """
    if not found:
        return wrap_page([f'<p class="cg-count" role="status">{html_text(language, "found.none")}</p>'], language)
    items = "".join(f"<li>{_found(model, url, language)}</li>" for model, url in zip(found, pictures, strict=True))
    said = f'<p class="cg-count" role="status">{html_text(language, "found.count", n=len(found))}</p>'
    return wrap_page([f'{said}<ul class="cg-found">{items}</ul>'], language)


def _found(model: FoundModel, url: str | None, language: str) -> str:
    source = picture_source(url or "")
    image = '<span class="cg-blank"></span>' if source is None else f'<img src="{source}" alt="">'
    repo = escape_untrusted(model.repo)
    facts = [model.kind, model.base, model.licence, model.changed]
    told = [escape_untrusted(fact) for fact in facts if fact]
    if model.downloads is not None:
        told.insert(0, html_text(language, "found.downloads", n=model.downloads))
    if model.trigger:
        told.append(f"“{escape_untrusted(model.trigger)}”")
    if model.gated:
        told.append(html_text(language, "found.gated"))
    text = f"<span><strong>{repo}</strong><small>{' · '.join(told)}</small></span>"
    return f'<button type="button" data-model="{repo}">{image}{text}</button>'


def _base(found: Mapping[str, Any], language: str, shipped_base: str | None) -> str:
    if shipped_base is not None:
        return html_text(language, "card.base.shipped")
    family, votes = found["family"], found["votes"]
    stated = found["stated_base"]
    if family is None and found["base"]:  # which fills in the field below
        return html_text(language, "card.base.stated", base=found["base"])
    if family is None:
        return html_text(language, "card.base.unknown")
    sure = any(vote["source"] == "shapes" for vote in votes) and found["disagreement"] is None
    base = (stated or {}).get("lineage") or found["base"] or family
    return html_text(language, "card.base.sure" if sure else "card.base.likely", family=family, base=base)


def _training(found: Mapping[str, Any], language: str) -> list[str]:
    """How it was trained, by its own notes; one line where there are none."""
    amount, framing, lines = found["amount"], found["framing"], []
    if amount["pictures"] is not None:
        key, often = "card.pictures", amount["presentations"]
        values = {"n": amount["pictures"]}
        if often is not None:
            key, values = "card.pictures.often", values | {"times": f"{often:.0f}" if often >= 1 else f"{often:.1g}"}
        lines.append(html_text(language, key, **values))
    times = "\N{MULTIPLICATION SIGN}"
    folders = [
        f"{escape_untrusted(folder['name'])} ({folder['pictures']} {times} {folder['repeats']})"
        for folder in amount["folders"][:MOST_FOLDERS]
    ]
    if folders:
        lines.append(f"{html_text(language, 'card.folders')} {', '.join(folders)}")
    if found["mirrored"] is not None:
        lines.append(html_text(language, "card.flipped" if found["mirrored"] else "card.not_flipped"))
    if framing["buckets"]:
        lines.append(html_text(language, "card.buckets", n=len(framing["buckets"])))
    if found["trained_until"]:
        lines.append(html_text(language, "card.until", date=found["trained_until"]))
    if not lines:
        return [html_text(language, "card.no_notes")]
    return [*lines, html_text(language, "card.editable")]


def _publication(found: Mapping[str, Any], language: str) -> list[str]:
    hub, civitai = found["hub"], found["civitai"]
    if civitai and civitai["published"]:
        return [html_text(language, "card.published", date=str(civitai["published"])[:10])]
    if hub and hub["licence"]:
        return [html_text(language, "card.licence", licence=hub["licence"])]
    return []


def _note(value: Mapping[str, Any]) -> Note:
    return Note(value["code"], dict(value["params"]))
