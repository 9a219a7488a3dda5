"""Write the report of a record: blocks that `report_html` sets as a web page and `report_pdf` on paper.

The first page answers: the question, the answer, how often such an answer is wrong, what it does not mean, and what was
compared. Then follow each picture with its scores, the method, how anybody checks all this, and the run.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ..judging.lineup import Lineup, explain_reach, lineup_p_value
from ..messages.text import single_line
from .lineup_sheet import ROLES, TITLE, lineup_sheet
from .record import WITHOUT_CHECKS, ModelsRecord, PictureRecord, Record, SetRecord
from .record_of_result import image_name, image_roles, lineup_of
from .report_blocks import Block, Command, Heading, Items, NewPage, Pictures, ScoreStrip, Table, Text
from .report_sources import origin_sentences, setting_sentences
from .report_words import (
    BANK_LIMIT,
    CHECKING,
    LIMITS,
    LINEUP_RULES,
    MEANINGS,
    METHOD,
    MIRROR_LIMITS,
    MIRROR_SOURCES,
    MIRRORED_IMAGE,
    SCORE_ERRORS,
)

LONGEST = 600  # characters shown of a text from outside
FILES_IN_FRONT = 6  # weight files whose SHA-256 the first page holds
PICTURES_IN_FRONT = 6  # pictures whose answers it holds


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
        *_method(),
        *_checking(record, record_sha256),
        *_run(record),
        *_lineup(record),
    ]


def _front(record: Record, record_sha256: str) -> Iterator[Block]:
    pictures, models = record.pictures, record.models
    several = len(pictures) > 1
    first = file_name(pictures[0].name)
    question = f"Were these {len(pictures)} pictures" if several else f"Was the picture “{first}”"
    yield Heading("Was this picture used to train that model?", 1)
    origins = " ".join(origin_sentences(record))
    yield Text(f"{question} used to train the model “{_line(models.suspect)}”? {origins}")
    if settings := " ".join(setting_sentences(record)):
        yield Text(settings)
    yield Heading("Answer")
    yield from _answers(record)
    yield Heading("How often such an answer is wrong")
    yield Items(tuple(_error_rate(record)))
    yield Heading("What it does not mean")
    about_controls = (LIMITS[2] if record.bank is None else BANK_LIMIT, LIMITS[3]) if record.control_scores else ()
    about_mirror = () if record.mirror is None else MIRROR_LIMITS
    yield Items((*LIMITS[:2], *about_mirror, *about_controls, *LIMITS[4:]))
    yield Heading("What was compared")
    rows = [(title, _line(value)) for title, value in _named_models(models) if value]
    rows += [("Picture", f"{file_name(p.name)}") for p in pictures if not several]
    rows += [("Control pictures", _describe_controls(record))]
    rows += [("Bank, SHA-256", _line(record.bank.sha256))] if record.bank is not None else []
    yield Table(tuple(rows), (1, 4))
    files = _digests(record)
    if len(files) <= FILES_IN_FRONT:
        yield Table((("File", "SHA-256"), *files), (2, 3), head=True, code=True)
    else:
        yield Text(f"The SHA-256 of the {len(files)} files, which identify them, are listed under “The run”.")
    date = _line(record.date).replace("T", " ").replace("+00:00", " UTC")
    yield Text(f"Run finished {date}. SHA-256 of the record, result.json: {record_sha256}")


def _named_models(models: ModelsRecord) -> Iterator[tuple[str, object]]:
    """Name what the run compared, as it was given."""
    yield "Public base", models.base
    yield "Suspect", models.suspect
    yield from (("Prompt", prompt) for prompt in (models.prompt, *models.other_prompts))
    yield from (("Embedding", name) for name in models.embeddings)
    yield "Unrelated model", models.unrelated
    yield "Its SHA-256", models.unrelated_sha256
    yield from ((f"Commit of the {role}", sha) for role, sha in models.commits.items())
    for role, publication in models.publications.items():
        day = (publication.published or "no date stated")[:10]
        newest = publication.newest_of
        chosen = f", the newest of {newest} published" if newest else ""
        yield f"Version of the {role} on Civitai", f"{publication.air}, published {day}{chosen}"
    yield "Configuration of", models.configuration
    yield "Warning", models.warning
    yield from (("Of its files", remark) for remark in models.remarks)
    yield "Alpha of the adapter, as given", models.adapter_alpha
    yield from (("Assumed", assumed) for assumed in models.notes)


def _answers(record: Record) -> Iterator[Block]:
    pictures, together = record.pictures, record.set
    if together is None:
        yield from _answer(pictures[0])
        return
    yield Text("All pictures together:")
    yield from _answer(together)
    if together.notes:
        yield Items(tuple(map(_line, together.notes)))
    yield from _witnesses(together, record)
    yield Text("Each picture by itself:")
    if len(pictures) <= PICTURES_IN_FRONT:
        yield _answer_table(pictures)
        return
    counts = Counter(p.outcome for p in pictures)
    yield Items(tuple(f"{n} of {len(pictures)}: {_line(outcome)}" for outcome, n in counts.items()))


def _answer(judged: PictureRecord | SetRecord) -> Iterator[Block]:
    yield Text(_first_upper(_line(judged.outcome)) + _p(judged), strong=True)
    yield Text(_line(judged.reason))


def _answer_table(pictures: Sequence[PictureRecord]) -> Table:
    rows = ((file_name(p.name), _line(p.outcome), _p_value(p.p_value)) for p in pictures)
    return Table((("Picture", "Answer", "p"), *rows), (5, 5, 1), head=True)


def _error_rate(record: Record) -> Iterator[str]:
    pictures, n, level = record.pictures, len(record.control_scores), record.level
    strict = level if record.strict_level is None else record.strict_level
    yield (
        f"“Consistent with training” is held to a false-positive rate of {strict:.0%}. Of 100 pictures that were not "
        f"used, it is said of at most about {100 * strict:.0f}, by mistake."
    )
    if strict < level:
        yield (
            f"“Weak evidence” is what lies between that rate and {level:.0%}. Of 100 pictures that were not used, at "
            f"most about {100 * level:.0f} get one of the two answers."
        )
    if record.expected_power is not None and record.mirror is None:
        yield f"About {record.expected_power:.0%} of the pictures that such a suspect was trained on get one of them."
    if record.mirror is not None:
        yield (
            "The mirror test was measured with "
            f"{record.mirror.references} {MIRROR_SOURCES.get(record.mirror.source, 'scores')}."
        )
    if n:
        yield (
            "The p-value of the control test states how often a picture that was not used would score as high. It was "
            f"measured with {n} {_reference_name(record)}. With that number it cannot be lower than {1 / (n + 1):.3f}."
        )
    elif record.mirror is None:
        yield "There are no control pictures. So there is no p-value and no answer."
    if len(pictures) > 1:
        yield (
            f"These rates are those of each of the {len(pictures)} pictures. If none of them was used, about "
            f"{level * len(pictures):.1f} would still get a positive answer. The one answer for all pictures together "
            "has these rates, too."
        )
        yield from _how_many(record.set, level)


def _how_many(together: SetRecord | None, level: float) -> Iterator[str]:
    """State the bounds on the number of used pictures, and what Holm's correction leaves."""
    if together is None:
        return
    if (used := together.used) is not None:
        many = f"between {used.low} and {used.high}" if used.bounded_above else f"at least {used.low}"
        yield (
            f"By the control test, of {together.pictures} pictures {many} were used. Such a statement is right for at "
            f"least {1 - level:.0%} of sets."
        )
    left = sum(p is not None and p <= level for p in together.adjusted)
    yield f"Corrected for their number (Holm), {left} pictures by themselves stay at a p-value of at most {level:g}."
    if together.adjusted_bh:
        found = sum(p is not None and p <= level for p in together.adjusted_bh)
        yield (
            f"Corrected by Benjamini and Hochberg's procedure, {found} stay there. If these are named, {level:.0%} of "
            "them are named by mistake, on average over many sets."
        )


def _picture(number: int, picture: PictureRecord, record: Record) -> Iterator[Block]:
    several = len(record.pictures) > 1
    yield NewPage()
    yield Heading(f"{f'Picture {number + 1}: ' if several else ''}{file_name(picture.name)}")
    roles = image_roles(record)
    yield Pictures(tuple((caption, image_name(number, role)) for role, caption in roles.items()))
    if len(roles) > len(ROLES):
        yield Text(MIRRORED_IMAGE)
    yield from _answer(picture)
    yield from _witnesses(picture, record)
    score = picture.scores.get(record.judged_by)
    if score is not None and abs(score) < float("inf") and record.control_scores:
        yield Heading(f"Among the {_reference_name(record)}", 3)
        yield ScoreStrip(
            score, tuple(c for c in record.control_scores if abs(c) < float("inf")), _reference_name(record)
        )
        if len(record.config.views) > 1:
            views = ", ".join(record.config.views)
            yield Text(f"The score is the largest over several views of a picture ({views}). Here: {picture.view}.")
    yield Heading("Scores", 3)
    errors = {k: f" ± {e:.2f}" for k, e in picture.score_errors.items()}
    known = {k: v for k, v in picture.scores.items() if v is not None}
    rows = [(_line(k), _number(v) + errors.get(k, ""), MEANINGS.get(k, "")) for k, v in known.items()]
    rows += [(_line(k), "none", _line(why)) for k, why in picture.not_computed.items()]
    yield Table((("Score", "Value", "Meaning (a higher value: more likely used)"), *rows), (4, 2, 9), head=True)
    if errors:
        yield Text(SCORE_ERRORS)
    yield Heading("Reasons not to trust the number", 3)
    flags = tuple(f"{_line(f.name)}: {_line(f.note)}" for f in picture.flags)
    yield Items(flags) if flags else Text("No flag was raised.")
    yield Heading("The file", 3)
    notes = tuple(_line(note) for note in picture.notes)
    yield Items(notes or ("Used as it is: nothing was cut, rotated or converted.",))
    yield Table((("Name", _line(picture.name)), ("SHA-256", _line(picture.sha256))), (1, 5), code=True)


def _witnesses(judged: PictureRecord | SetRecord, record: Record) -> Iterator[Block]:
    """State what each test says by itself, where there is more than the controls."""
    if not any(w.name == "mirror" for w in judged.witnesses):
        return
    names = {"mirror": "Mirror test", "controls": "Bank" if record.bank is not None else "Control pictures"}
    rows = [
        (names.get(w.name, _line(w.name)), _p_value(w.p_value), f"{w.references}", _line(w.silent) if w.silent else "")
        for w in judged.witnesses
    ]
    yield Heading("What each test says by itself", 3)
    yield Table((("Test", "p", "Scores behind it", "Why it says nothing"), *rows), (3, 1, 2, 6), head=True)


def _method() -> Iterator[Block]:
    yield NewPage()
    yield Heading("The method in plain words")
    yield Text(" ".join(METHOD[:3]))
    yield Text(" ".join(METHOD[3:5]))
    yield Text(" ".join(METHOD[5:]))


def _run(record: Record) -> Iterator[Block]:
    config, machine, code = record.config, record.machine, record.code
    recovery, scores = config.recovery, record.control_scores
    yield Heading("The run")
    rows = {
        "Settings": f"preset {config.preset}, {recovery.steps} steps, {recovery.draws} draws a step",
        "Seed": record.config.seed,
        "Mirror test": f"{record.config.mirror_draws} draws" if record.config.mirror_draws else "left out",
        "Framing": _framing(record),
        "Distance": _distance(record),
        "Time": f"{record.seconds} s",
        "Machine": ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in vars(machine).items() if v not in ("", None)),
        "Versions": ", ".join(f"{k} {v}" for k, v in record.versions.items() if v),
        "Code": f"cgidm {code.version}, SHA-256 of its sources {code.sha256}",
    }
    yield Table(tuple((k, _line(v)) for k, v in rows.items()), (1, 5))
    if len(record.pictures) > PICTURES_IN_FRONT:
        yield Heading("The answer of each picture", 3)
        yield _answer_table(record.pictures)
    files = _digests(record)
    if len(files) > FILES_IN_FRONT:
        yield Heading("Pictures and weights", 3)
        yield Table((("File", "SHA-256"), *files), (2, 3), head=True, code=True)
    if scores and record.bank is None:
        yield Heading("Control pictures", 3)
        yield Text(_describe_controls(record))
        names = [file_name(c.name) for c in record.controls] or [f"number {i + 1}" for i in range(len(scores))]
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        rows = tuple((names[i], _number(scores[i])) for i in order)
        yield Table((("Control picture", "Score"), *rows), (4, 1), head=True)


def _framing(record: Record) -> str:
    """State which part of the pictures was looked at, and why."""
    if record.framing is None or record.framing.rule.get("rule") == "centre_square":
        return "centre squares"
    rule = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in record.framing.rule.items() if v is not None)
    if record.framing.guessed:
        return f"as most trainers do ({rule}), and centre squares: the suspect's file does not note it"
    return f"as the suspect's file notes or the user states ({rule})"


def _distance(record: Record) -> str:
    """State the distance of the suspect from its base, which tells how strongly it was trained."""
    known = [p.distance_from_base for p in record.pictures if p.distance_from_base is not None]
    weights = record.weight_distance
    parts = [f"{sum(known) / len(known):.4f} of the base's loss in its predictions"] if known else []
    parts += [] if weights is None else [f"{weights:.2%} of the length of the base's weights"]
    return f"the suspect from its base: {', '.join(parts)}" if parts else "not measured"


def _checking(record: Record, record_sha256: str) -> Iterator[Block]:
    yield Heading("How to check this")
    yield Text(CHECKING[0])
    yield Command("python -m cgidm verify BUNDLE")
    yield Text(CHECKING[1])
    yield Text(f"{CHECKING[2]} The record that this report was made from has the SHA-256 {record_sha256}.")
    held = record.controls or (record.bank is not None and record.format not in WITHOUT_CHECKS)
    bring = "" if held else " --controls FWITHOUT_CHECKS" if record.bank is None else " --bank FWITHOUT_CHECKS"
    yield Text("With both models, anybody can repeat the run and compare every score with the recorded one:")
    yield Command(f"python -m cgidm verify BUNDLE --rerun --base BASE --suspect SUSPECT{bring}")
    yield Text(CHECKING[3])


def _lineup(record: Record) -> Iterator[Block]:
    """Write the sheet of the line-up, and on the pages after it the key."""
    lineup = lineup_of(record)
    if lineup is None:
        return
    yield NewPage()
    yield Heading(TITLE)
    yield Text(
        "Show this part to somebody who has not seen the pictures. Use the file lineup.html, or these pages alone: the "
        "pages before and after them betray the answer. The answer of this report does not rest on the line-up."
    )
    yield from lineup_sheet(lineup.sizes)
    yield NewPage()
    yield Heading("Key of the line-up: read after choosing")
    yield _key(lineup, record)
    for left in lineup.left_out:
        yield Text(f"Picture {left.picture + 1} has no round: {_line(left.reason)}.")
    yield Heading("What the choices mean", 3)
    yield Text(
        "If the picture in question does not differ from the control pictures, a choice is right with a chance of one "
        "in the number of pictures of its round, whatever the observer looks at. So by chance alone:"
    )
    n = len(lineup.sizes)
    rows = ((f"{hits} or more of {n}", _p_value(lineup_p_value(lineup.sizes, hits))) for hits in range(1, n + 1))
    yield Table((("Right choices", "p"), *rows), (3, 1), head=True)
    yield Items((str(explain_reach(lineup.sizes)), *LINEUP_RULES))
    yield Text("The choices of one person, “-” for “I cannot tell”, are counted by")
    yield Command("python -m cgidm lineup BUNDLE --picks=LETTER,LETTER,...")


def _key(lineup: Lineup, record: Record) -> Table:
    """Write the key: the controls by their names, or by their numbers where the bundle does not hold them."""
    names = [file_name(c.name) for c in record.controls]
    names = names or [f"control {i + 1}" for i in range(len(record.control_scores))]
    rows = (
        (str(n), r.letter, file_name(record.pictures[r.picture].name), ", ".join(names[d] for d in r.decoys))
        for n, r in enumerate(lineup.rounds, 1)
    )
    head = ("Round", "Answer", "Picture in question", "Control pictures around it, in their order")
    return Table((head, *rows), (2, 2, 5, 11), head=True)


def _reference_name(record: Record) -> str:
    """Name what the score is compared with."""
    return "control pictures" if record.bank is None else "scores of models that were not trained on the picture"


def _describe_controls(record: Record) -> str:
    if record.bank is not None:
        return f"none, but {len(record.control_scores)} scores of the bank {_line(record.bank.name)}"
    n, held = len(record.control_scores), len(record.controls)
    if not n:
        return "none were given"
    return f"{n}, which are included in the bundle" if held else f"{n}, which are not included in the bundle"


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


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
