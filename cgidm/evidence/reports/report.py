"""Write the report of a record: blocks that `report_html` sets as a web page and `report_pdf` on paper.

The first page answers: the question, the answer, how often such an answer is wrong, what it does not mean, and what was
compared. Then follow each picture with its scores, the method, how anybody checks all this, and the run. Every sentence
is a code of `messages/*/report.json`, said in the language of the record.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ...judging.lineup import Lineup, explain_reach, lineup_p_value
from ...judging.mirror_test import likelihood_note
from ...messages.text import single_line
from ..lineup_sheet import ROLES, lineup_sheet
from ..record import WITHOUT_CHECKS, PictureRecord, Record, SetRecord
from ..record_of_result import image_name, image_roles, lineup_of
from .blocks import Block, Command, Heading, Items, NewPage, Pictures, ScoreStrip, Table, Text
from .language import MIRROR_SOURCES, known_text, note_text, outcome_text, quotable, text
from .silence import power_of_silence
from .sources import named_models, origin_sentences, setting_sentences, statement_of_control

LONGEST = 600  # characters shown of a text from outside
FILES_IN_FRONT = 6  # weight files whose SHA-256 the first page holds
PICTURES_IN_FRONT = 6  # pictures whose answers it holds
BLANK = "_" * 40  # to be filled in by hand


def report_blocks(record: Record, record_sha256: str) -> list[Block]:
    """Write the report of a record.

    Args:
        record: the run.
        record_sha256: of the bytes of its `result.json`.

    Returns:
        Blocks. Texts from outside are on one line and printable, but not escaped.
    """
    return [
        *_front(record, record_sha256),
        *(block for n, p in enumerate(record.pictures) for block in _picture(n, p, record)),
        *_method(record),
        *_checking(record, record_sha256),
        *_run(record),
        *_lineup(record),
    ]


def _front(record: Record, record_sha256: str) -> Iterator[Block]:
    pictures, several = record.pictures, len(record.pictures) > 1
    values = {"picture": quotable(file_name(pictures[0].name)), "pictures": len(pictures)}
    values["suspect"] = quotable(record.models.suspect)
    question = text(record, "report.question.several" if several else "report.question.one", **values)
    yield Heading(text(record, "report.title"), 1)
    yield Text(f"{question} {' '.join(origin_sentences(record))}")
    if settings := " ".join(setting_sentences(record)):
        yield Text(settings)
    yield Heading(text(record, "report.answer"))
    yield from _answers(record)
    yield Heading(text(record, "report.rate"))
    yield Items(tuple(_error_rate(record)))
    yield Heading(text(record, "report.limits"))
    yield Items(tuple(text(record, f"report.limit.{name}") for name in _limits(record)))
    yield Heading(text(record, "report.compared"))
    rows = [(title, note_text(record, value)) for title, value in named_models(record) if value]
    rows += [(text(record, "report.row.picture"), file_name(p.name)) for p in pictures if not several]
    rows += [(text(record, "report.row.controls"), _describe_controls(record))]
    rows += [(text(record, "report.row.bank"), _line(record.bank.sha256))] if record.bank is not None else []
    yield Table(tuple(rows), (1, 4))
    files = _digests(record)
    if len(files) <= FILES_IN_FRONT:
        yield Table(((text(record, "report.row.file"), "SHA-256"), *files), (2, 3), head=True, code=True)
    else:
        yield Text(text(record, "report.files_listed", files=len(files)))
    date = _line(record.date).replace("T", " ").replace("+00:00", " UTC")
    yield Text(text(record, "report.finished", date=date, sha256=record_sha256))


def _limits(record: Record) -> list[str]:
    """Name what an answer does not mean, by the tests that were asked."""
    of_controls = ["controls" if record.bank is None else "bank"] if record.control_scores else []
    of_mirror = [] if record.mirror is None else ["flips", "likeness"]
    of_mirror += [] if record.mirror is None or record.mirror.source == "bank" else ["styles"]
    image = "image" if record.control_scores and record.bank is None else "image.alone"
    return ["none", "statistical", *of_mirror, *of_controls, image, "law"]


def _answers(record: Record) -> Iterator[Block]:
    pictures, together = record.pictures, record.set
    if together is None:
        yield from _answer(pictures[0], record)
        return
    yield Text(text(record, "report.together"))
    yield from _answer(together, record)
    if together.notes:
        yield Items(tuple(note_text(record, n) for n in together.notes))
    yield from _witnesses(together, record)
    yield Text(text(record, "report.by_itself"))
    if len(pictures) <= PICTURES_IN_FRONT:
        yield _answer_table(record)
        return
    counts = Counter(p.outcome for p in pictures)
    known = ((n, outcome_text(record, outcome)) for outcome, n in counts.items())
    yield Items(tuple(text(record, "report.count", n=n, of=len(pictures), outcome=said) for n, said in known))


def _answer(judged: PictureRecord | SetRecord, record: Record) -> Iterator[Block]:
    said = outcome_text(record, judged.outcome)
    yield Text(said[:1].upper() + said[1:] + _p(judged), strong=True)
    yield Text(note_text(record, judged.reason))


def _answer_table(record: Record) -> Table:
    rows = ((file_name(p.name), outcome_text(record, p.outcome), _p_value(p.p_value)) for p in record.pictures)
    head = (text(record, "report.row.picture"), text(record, "report.answer"), "p")
    return Table((head, *rows), (5, 5, 1), head=True)


def _error_rate(record: Record) -> Iterator[str]:
    pictures, n, level = record.pictures, len(record.control_scores), record.level
    strict = level if record.strict_level is None else record.strict_level
    yield text(record, "report.rate.strict", percent=100 * strict)
    if strict < level:
        yield text(record, "report.rate.weak", percent=100 * level)
    if (power := power_of_silence(record)) is not None:
        key = "report.rate.power.bank" if power.test == "bank" else "report.rate.power"
        yield text(record, key, percent=100 * power.share)
        if power.unless_mirrored:
            yield text(record, "report.rate.power.mirrored")
    if record.mirror is not None:
        source = MIRROR_SOURCES.get(record.mirror.source, "other")
        of_bank = 0 if record.bank is None else record.bank.nulls
        yield text(record, f"report.rate.mirror.{source}", n=record.mirror.references, own=of_bank)
    if n:
        yield text(record, _of(record, "report.rate.n.controls", "report.rate.n.bank"), n=n, lowest=1 / (n + 1))
    elif record.mirror is None:
        yield text(record, "report.rate.no_controls")
    if len(pictures) > 1:
        yield text(record, "report.rate.several", pictures=len(pictures), expected=level * len(pictures))
        yield from _how_many(record, level)


def _how_many(record: Record, level: float) -> Iterator[str]:
    """State the bounds on the number of used pictures, and what Holm's correction leaves."""
    if (together := record.set) is None:
        return
    if (used := together.used) is not None:
        bounds = {"pictures": together.pictures, "low": used.low, "high": used.high, "percent": 100 * (1 - level)}
        yield text(record, "report.used.between" if used.bounded_above else "report.used.least", **bounds)
    left = sum(p is not None and p <= level for p in together.adjusted)
    yield text(record, "report.holm", left=left, level=level)
    if together.adjusted_bh:
        found = sum(p is not None and p <= level for p in together.adjusted_bh)
        yield text(record, "report.bh", found=found, percent=100 * level)


def _picture(number: int, picture: PictureRecord, record: Record) -> Iterator[Block]:
    several, name = len(record.pictures) > 1, file_name(picture.name)
    yield NewPage()
    yield Heading(text(record, "report.picture", number=number + 1, name=name) if several else name)
    roles = image_roles(record)
    yield Pictures(tuple((text(record, f"report.role.{role}"), image_name(number, role)) for role in roles))
    if len(roles) > len(ROLES):
        yield Text(text(record, "report.mirrored_image"))
    yield from _answer(picture, record)
    yield from _witnesses(picture, record)
    if picture.likelihood is not None:
        yield Text(note_text(record, likelihood_note(picture.likelihood.ratio, picture.likelihood.low)))
    score = picture.scores.get(record.judged_by)
    if score is not None and abs(score) < float("inf") and record.control_scores:
        yield Heading(text(record, _of(record, "report.among.controls", "report.among.bank")), 3)
        yield _score_strip(score, record)
        if len(record.config.views) > 1:
            views = ", ".join(record.config.views)
            yield Text(text(record, "report.views", views=views, view=picture.view))
    yield Heading(text(record, "report.scores"), 3)
    errors = {k: f" ± {e:.2f}" for k, e in picture.score_errors.items()}
    known = {k: v for k, v in picture.scores.items() if v is not None}
    meanings = {k: known_text(record, f"report.meaning.{k}") for k in known}
    rows = [(_line(k), _number(v) + errors.get(k, ""), meanings[k]) for k, v in known.items()]
    rows += [(_line(k), text(record, "report.none"), note_text(record, why)) for k, why in picture.not_computed.items()]
    head = tuple(text(record, f"report.head.{name}") for name in ("score", "value", "meaning"))
    yield Table((head, *rows), (4, 2, 9), head=True)
    if errors:
        yield Text(text(record, "report.score_errors"))
    yield Heading(text(record, "report.flags"), 3)
    flags = tuple(f"{_line(f.name)}: {note_text(record, f.note)}" for f in picture.flags)
    yield Items(flags) if flags else Text(text(record, "report.no_flag"))
    yield Heading(text(record, "report.file"), 3)
    notes = tuple(note_text(record, note) for note in picture.notes)
    yield Items(notes or (text(record, "report.file.unchanged"),))
    rows = ((text(record, "report.row.name"), _line(picture.name)), ("SHA-256", _line(picture.sha256)))
    yield Table(rows, (1, 5), code=True)


def _score_strip(score: float, record: Record) -> ScoreStrip:
    finite = tuple(c for c in record.control_scores if abs(c) < float("inf"))
    caption = text(record, _of(record, "report.strip.none.controls", "report.strip.none.bank"), score=score)
    if finite:
        above = sum(c >= score for c in finite)
        found = {"score": score, "n": len(finite), "low": min(finite), "high": max(finite), "above": above}
        caption = text(record, _of(record, "report.strip.controls", "report.strip.bank"), **found)
    return ScoreStrip(score, finite, caption, text(record, "report.here", score=score))


def _witnesses(judged: PictureRecord | SetRecord, record: Record) -> Iterator[Block]:
    """State what each test says by itself, where there is more than the controls."""
    if not any(w.name == "mirror" for w in judged.witnesses):
        return
    names = {
        "mirror": text(record, "report.test.mirror"),
        "controls": text(record, _of(record, "report.test.controls", "report.test.bank")),
    }
    silent = [note_text(record, w.silent) if w.silent else "" for w in judged.witnesses]
    told = [(names.get(w.name, _line(w.name)), _p_value(w.p_value), f"{w.references}") for w in judged.witnesses]
    yield Heading(text(record, "report.tests"), 3)
    head = (
        text(record, "report.head.test"),
        "p",
        text(record, "report.head.behind"),
        text(record, "report.head.silent"),
    )
    yield Table((head, *((*a, b) for a, b in zip(told, silent, strict=True))), (3, 1, 2, 6), head=True)


def _method(record: Record) -> Iterator[Block]:
    yield NewPage()
    yield Heading(text(record, "report.method"))
    by_bank = ["mirror.bank"] if record.mirror is not None and record.mirror.source == "bank" else []
    for part in ("models", "mirror", *by_bank, "controls", "recovery", "source"):
        yield Text(text(record, f"report.method.{part}"))


def _run(record: Record) -> Iterator[Block]:
    config, machine, code = record.config, record.machine, record.code
    recovery, scores = config.recovery, record.control_scores
    settings = {"preset": config.preset, "steps": recovery.steps, "draws": recovery.draws}
    draws = config.mirror_draws
    yield Heading(text(record, "report.run"))
    rows = {
        "settings": text(record, "report.run.how", **settings),
        "seed": record.config.seed,
        "mirror": text(record, "report.run.draws", draws=draws) if draws else text(record, "report.run.left_out"),
        "framing": _framing(record),
        "distance": _distance(record),
        "time": f"{record.seconds} s",
        "machine": ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in vars(machine).items() if v not in ("", None)),
        "versions": ", ".join(f"{k} {v}" for k, v in record.versions.items() if v),
        "code": text(record, "report.run.source", version=code.version, sha256=code.sha256),
    }
    yield Table(tuple((text(record, f"report.run.{k}"), _line(v)) for k, v in rows.items()), (1, 5))
    if len(record.pictures) > PICTURES_IN_FRONT:
        yield Heading(text(record, "report.answers"), 3)
        yield _answer_table(record)
    files = _digests(record)
    if len(files) > FILES_IN_FRONT:
        yield Heading(text(record, "report.files"), 3)
        yield Table(((text(record, "report.row.file"), "SHA-256"), *files), (2, 3), head=True, code=True)
    if scores and record.bank is None:
        yield Heading(text(record, "report.row.controls"), 3)
        yield Text(_describe_controls(record))
        yield _control_table(record)
    yield Heading(text(record, "report.form"), 3)
    fields = ("case", "wanted_by", "run_by", "picture_from", "suspect_from", "signed")
    yield Table(tuple((text(record, f"report.form.{name}"), BLANK) for name in fields), (2, 3))


def _control_table(record: Record) -> Table:
    """The scores of the controls, the highest first; of those that the bundle holds also file and digest."""
    scores, held = record.control_scores, record.controls
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    head = (text(record, "report.head.control"), text(record, "report.head.score"))
    if not held:
        numbers = (statement_of_control(record, i, text(record, "report.number", n=i + 1)) for i in order)
        return Table((head, *((n, _number(scores[i])) for n, i in zip(numbers, order, strict=True))), (4, 1), head=True)
    names = [statement_of_control(record, i, file_name(control.name)) for i, control in enumerate(held)]
    named = ((names[i], _number(scores[i]), _line(held[i].image), _line(held[i].sha256)) for i in order)
    columns = (*head, text(record, "report.head.in_bundle"), text(record, "report.head.sha256"))
    return Table((columns, *named), (5, 2, 4, 9), head=True, code=True)


def _framing(record: Record) -> str:
    """State which part of the pictures was looked at, and why."""
    if record.framing is None or record.framing.rule.get("rule") == "centre_square":
        return text(record, "report.framing.squares")
    rule = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in record.framing.rule.items() if v is not None)
    return text(record, "report.framing.guessed" if record.framing.guessed else "report.framing.noted", rule=rule)


def _distance(record: Record) -> str:
    """State the distance of the suspect from its base, which tells how strongly it was trained."""
    known = [p.distance_from_base for p in record.pictures if p.distance_from_base is not None]
    weights = record.weight_distance
    parts = [text(record, "report.distance.loss", share=sum(known) / len(known))] if known else []
    parts += [] if weights is None else [text(record, "report.distance.weights", share=weights)]
    return text(record, "report.distance", parts=parts) if parts else text(record, "report.distance.none")


def _checking(record: Record, record_sha256: str) -> Iterator[Block]:
    yield Heading(text(record, "report.check"))
    yield Text(text(record, "report.check.bundle"))
    yield Command("python -m cgidm verify BUNDLE")
    yield Text(text(record, "report.check.claims"))
    yield Text(text(record, "report.check.seal", sha256=record_sha256))
    held = record.controls or (record.bank is not None and record.format not in WITHOUT_CHECKS)
    bring = "" if held else " --controls FOLDER" if record.bank is None else " --bank FOLDER"
    yield Text(text(record, "report.check.rerun"))
    yield Command(f"python -m cgidm verify BUNDLE --rerun --base BASE --suspect SUSPECT{bring}")
    yield Text(text(record, "report.check.weights"))


def _lineup(record: Record) -> Iterator[Block]:
    """Write the sheet of the line-up, and on the pages after it the key."""
    if (lineup := lineup_of(record)) is None:
        return
    yield NewPage()
    yield Heading(text(record, "report.sheet.title"))
    yield Text(text(record, "report.lineup.about"))
    yield from lineup_sheet(lineup.sizes, record.language)
    yield NewPage()
    yield Heading(text(record, "report.lineup.key"))
    yield _key(lineup, record)
    for left in lineup.left_out:
        yield Text(text(record, "report.lineup.left_out", n=left.picture + 1, reason=left.reason))
    yield Heading(text(record, "report.lineup.meaning"), 3)
    yield Text(text(record, "report.lineup.chance"))
    n = len(lineup.sizes)
    rows = (
        (text(record, "report.lineup.hits", hits=hits, n=n), _p_value(lineup_p_value(lineup.sizes, hits)))
        for hits in range(1, n + 1)
    )
    yield Table(((text(record, "report.lineup.right"), "p"), *rows), (3, 1), head=True)
    rules = (text(record, f"report.lineup.rule.{name}") for name in ("observer", "several", "controls", "people"))
    yield Items((note_text(record, explain_reach(lineup.sizes)), *rules))
    yield Text(text(record, "report.lineup.count"))
    yield Command("python -m cgidm lineup BUNDLE --picks=LETTER,LETTER,...")


def _key(lineup: Lineup, record: Record) -> Table:
    """Write the key: the controls by their names, or by their numbers where the bundle does not hold them."""
    names = [file_name(c.name) for c in record.controls]
    names = names or [text(record, "report.control", n=i + 1) for i in range(len(record.control_scores))]
    rows = (
        (str(n), r.letter, file_name(record.pictures[r.picture].name), ", ".join(names[d] for d in r.decoys))
        for n, r in enumerate(lineup.rounds, 1)
    )
    columns = ("report.lineup.round", "report.answer", "report.lineup.in_question", "report.lineup.around")
    return Table((tuple(text(record, c) for c in columns), *rows), (2, 2, 5, 11), head=True)


def _of(record: Record, of_controls: str, of_bank: str) -> str:
    """Choose the sentence that speaks of what the score is compared with."""
    return of_controls if record.bank is None else of_bank


def _describe_controls(record: Record) -> str:
    n = len(record.control_scores)
    if record.bank is not None:
        return text(record, "report.controls.bank", n=n, bank=record.bank.name)
    if not n:
        return text(record, "report.controls.none")
    return text(record, "report.controls.held" if record.controls else "report.controls.not_held", n=n)


def _digests(record: Record) -> list[tuple[str, str]]:
    pictures = [(file_name(p.name), _line(p.sha256)) for p in record.pictures]
    return pictures + [(_line(name), _line(digest)) for name, digest in record.models.sha256.items()]


def _p(judged: PictureRecord | SetRecord) -> str:
    return "" if judged.p_value is None else f" (p = {_p_value(judged.p_value)})"


def _p_value(value: float | None) -> str:
    """Write a p-value, never as 0, which none is."""
    return _number(value) if value is None or value >= 0.001 else f"{value:.1g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def file_name(path: str) -> str:
    """Return a file's name without its folders."""
    return _line(re.split(r"[\\/]", path.rstrip("\\/"))[-1])


def _line(value: Any) -> str:
    return single_line(str(value), LONGEST)
