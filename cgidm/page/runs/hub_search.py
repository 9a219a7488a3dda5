"""Search the Hub for models that were fine-tuned on pictures: by name, author and trigger words, of one base or any.

Only what a visitor may read is found: their own token goes along, never the operator's. Everything found was written by
strangers; it is cut to a line here and escaped where it is shown.
"""

import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from huggingface_hub import ModelInfo, constants, get_session
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from cgidm.intake.hub import TIMEOUT, endpoint
from cgidm.intake.hub_answers import HubUnreachable, explain_hub_errors
from cgidm.intake.source import IDENTIFIER
from cgidm.messages.text import single_line

MOST_FOUND = 8
LONGEST_QUERY = 100  # characters
PATIENCE = 12.0  # seconds for all questions of one search
REMEMBERED = 300.0  # seconds that an anonymous visitor's answer is kept for the next who asks the same
MOST_LISTED = 40  # models by name and by author
POPULAR = 200  # the most downloaded models, whose trigger words are compared
TEXT = 60  # characters of a name or trigger that are kept
KINDS = {"lora": "LoRA", "dreambooth": "DreamBooth", "textual_inversion": "textual inversion"}  # tag -> kind
OF_PICTURES = {"text-to-image", "image-to-image", "diffusers", "stable-diffusion", "stable-diffusion-xl"}
IMAGES = (".png", ".jpg", ".jpeg", ".webp")
EXPANDED = ["cardData", "downloads", "gated", "lastModified", "pipeline_tag", "sha", "siblings", "tags"]


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A fine-tuned model on the Hub, as its owner describes it."""

    repo: str
    commit: str | None
    kind: str | None  # a value of `KINDS`
    base: str | None
    trigger: str | None  # the card's instance_prompt
    downloads: int | None  # of the last month
    licence: str | None
    changed: str | None  # ISO 8601, the day alone
    gated: bool
    picture: str | None  # a picture file of the repository


def search_models(words: str, base: str | None = None, token: str | None = None) -> list[FoundModel]:
    """Find models by words in name or trigger, or by their author; at most `MOST_FOUND`, the best matches first.

    Args:
        words: what somebody typed.
        base: the id of the public model that they were made from; None: any.
        token: the visitor's own, if any.

    Raises:
        HubError: if the Hub does not answer, or refuses.
    """
    words = single_line(words, LONGEST_QUERY).strip()
    if token is None and (known := _REMEMBERED.get((words, base))) is not None:
        return known
    found = _rank(_ask(words, base, token), words)
    if token is None:
        _REMEMBERED.put((words, base), found)
    return found


def _ask(words: str, base: str | None, token: str | None) -> list[ModelInfo]:
    """Ask for names, for the author and for popular models at once; what answers in time counts."""
    made_from = [f"base_model:{base}"] if base else []
    questions: list[dict[str, Any]] = [
        {"search": words, "filter": made_from, "limit": MOST_LISTED},
        {"filter": made_from or ["text-to-image", "lora"], "limit": POPULAR},
    ]
    if IDENTIFIER.fullmatch(f"{words}/x"):
        questions.append({"author": words, "filter": made_from, "limit": MOST_LISTED})

    def answer(question: dict[str, Any]) -> list[ModelInfo]:
        with explain_hub_errors(words, None):
            return _list_models(question, token)

    pool = ThreadPoolExecutor(len(questions))
    asked = [pool.submit(answer, question) for question in questions]
    pool.shutdown(wait=False)
    done, _ = wait(asked, PATIENCE)
    if not done:
        raise HubUnreachable("page.search_unreachable")
    by_name = asked[0]
    if by_name in done and (error := by_name.exception()) is not None:
        raise HubUnreachable("page.search_unreachable") if isinstance(error, HubUnreachable) else error
    answers = [task.result() for task in asked if task in done and task.exception() is None]
    return list({info.id: info for answer in answers for info in answer}.values())


def _list_models(question: dict[str, Any], token: str | None) -> list[ModelInfo]:
    """Ask once: `HfApi.list_models` would try again for a minute, and follow links to further pages."""
    if constants.HF_HUB_OFFLINE:
        raise OfflineModeIsEnabled()
    params = {"expand": EXPANDED, "sort": "downloads", **question}
    headers = build_hf_headers(token=token or False)
    answer = get_session().get(f"{endpoint()}/api/models", params=params, headers=headers, timeout=TIMEOUT)
    hf_raise_for_status(answer)
    items = answer.json()
    return [ModelInfo(**item) for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)]


def _rank(infos: Iterable[ModelInfo], words: str) -> list[FoundModel]:
    """Keep models of pictures that match, those that match in their name first, then the most downloaded."""
    wanted = words.casefold().split()

    def match(model: FoundModel) -> int:
        places = (model.repo.casefold(), (model.trigger or "").casefold())
        return next((2 - rank for rank, place in enumerate(places) if all(w in place for w in wanted)), 0)

    models = [model for info in infos if (model := _describe(info)) is not None]
    matching = [model for model in models if match(model)]
    return sorted(matching, key=lambda m: (-match(m), -(m.downloads or 0), m.repo))[:MOST_FOUND]


def _describe(info: ModelInfo) -> FoundModel | None:
    """What the Hub states of a model; None if it was not fine-tuned on pictures, or its name can be none."""
    tags = {tag.casefold() for tag in info.tags or [] if isinstance(tag, str)}
    card = info.card_data.to_dict() if info.card_data else {}
    bases = [t.rsplit(":", 1)[1] for t in info.tags or [] if t.startswith("base_model:")]
    kind = next((kind for tag, kind in KINDS.items() if tag in tags or tag.replace("_", "-") in tags), None)
    of_pictures = tags & OF_PICTURES or info.pipeline_tag in OF_PICTURES
    if not of_pictures or not (kind or bases) or not IDENTIFIER.fullmatch(info.id):
        return None
    licence = card.get("license_name") or card.get("license")
    return FoundModel(
        repo=info.id,
        commit=info.sha,
        kind=kind,
        base=_line(bases[0]) if bases else None,
        trigger=_line(card.get("instance_prompt")),
        downloads=info.downloads,
        licence=_line(licence),
        changed=None if info.last_modified is None else info.last_modified.date().isoformat(),
        gated=bool(info.gated),
        picture=_picture(card, [s.rfilename for s in info.siblings or []]),
    )


def _picture(card: dict[str, Any], files: list[str]) -> str | None:
    """The file that the card shows, else the first picture; never an address elsewhere."""
    widgets = card.get("widget") if isinstance(card.get("widget"), list) else []
    named = [card.get("thumbnail"), *(_output(w) for w in widgets or [])]
    shown = [str(n).rsplit("/resolve/main/", 1)[-1].removeprefix("./") for n in named if isinstance(n, str)]
    pictures = [f for f in files if f.casefold().endswith(IMAGES)]
    return next((f for f in [*shown, *pictures] if f in pictures), None)


def _output(widget: Any) -> Any:
    output = widget.get("output") if isinstance(widget, dict) else None
    return output.get("url") if isinstance(output, dict) else None


def _line(value: Any) -> str | None:
    return single_line(value, TEXT).strip() or None if isinstance(value, str) else None


class _Remembered:
    """Answers of a few minutes ago: typing on asks the same again."""

    def __init__(self) -> None:
        self._answers: dict[Any, tuple[float, list[FoundModel]]] = {}
        self._lock = threading.Lock()

    def get(self, key: Any) -> list[FoundModel] | None:
        at, found = self._answers.get((endpoint(), key), (0.0, []))
        return found if time.monotonic() - at < REMEMBERED and at else None

    def put(self, key: Any, found: list[FoundModel]) -> None:
        with self._lock:
            if len(self._answers) >= 100:
                self._answers.clear()
            self._answers[(endpoint(), key)] = (time.monotonic(), found)


_REMEMBERED = _Remembered()
