"""A page for a lawyer: the questions that a court asks of such evidence, answered from a record or not answered.

The questions are those of Rule 702 of the Federal Rules of Evidence, as amended on 1 December 2023, and of Daubert v.
Merrell Dow Pharmaceuticals, 509 U.S. 579 (1993).
"""

from collections.abc import Iterator

from ...messages.text import single_line
from ...resources import SHIPPED
from ..record import Record
from ..reports.silence import power_of_silence
from ..reports.sources import origin_sentences, setting_sentences
from .facts import ExportFacts, picture_line
from .notices import finding_sentences

OPEN = "NOT ANSWERED"


def lawyer_page(facts: ExportFacts) -> str:
    """Write the page."""
    record = facts.record
    parts = [
        "For a lawyer: what this evidence is, and what a court may ask of it",
        "This page is filled in from a record of the tool. It is no legal advice, and no opinion of an expert. Where "
        f"it says {OPEN}, the tool cannot know.",
        "The question",
        "Was a picture among those that a model was trained on? " + " ".join(origin_sentences(record)),
        *(f"- {picture_line(p)}: {single_line(p.outcome)}" for p in record.pictures),
        "The answer",
        " ".join(finding_sentences(record, facts.outcome, facts.p_value)),
        f"Seal of the evidence: {facts.seal or OPEN}",
        "Rule 702: the proponent demonstrates to the court that each of the following is more likely than not",
    ]
    for question, answer in _questions(facts):
        parts.append(f"{question}\n{answer}")
    return "\n\n".join(parts) + "\n"


def _questions(facts: ExportFacts) -> Iterator[tuple[str, str]]:
    record = facts.record
    yield (
        "(a) Will the expert's knowledge help the trier of fact?",
        f"{OPEN}. The tool states whether a picture was probably trained on. Whether that matters is for the case.",
    )
    yield "(b) Is the testimony based on sufficient facts or data?", _data(record)
    yield (
        "(c) Is it the product of reliable principles and methods? Can the method be tested, and was it?",
        "It can be tested, and was: pictures whose use is known are judged, and errors are counted. The project's "
        "documents have these counts, with the commands that repeat them. They were counted on small models that were "
        f"trained for the purpose. {_applies(record)}",
    )
    yield (
        "(c) Was it subject to peer review and publication?",
        "The contrast and the recovery were: Wu et al., CGI-DM, CVPR 2024. The mirror test, the residuals, and the "
        f"rules by which answers follow from scores were not, as far as the tool knows. Later reviews: {OPEN}.",
    )
    yield "(c) What is the known or potential rate of error?", " ".join(_rates(record))
    yield (
        "(c) Are there standards that control its operation?",
        "The run follows fixed presets, and every random number follows from a recorded seed. "
        + (" ".join(setting_sentences(record)) or "Its settings are those of the preset.")
        + f" {_plan(record)} There is no standard of a standards body for such tests.",
    )
    yield (
        "(c) Is it generally accepted in the relevant scientific community?",
        f"{OPEN}. Published work disputes whether tests of membership can be sound for models whose training is not "
        "known (for example Zhang et al., arXiv 2409.19798).",
    )
    yield (
        "(d) Does the opinion reflect a reliable application of the principles and methods to the facts of the case?",
        " ".join(_application(record)),
    )
    yield (
        "Who ran it, and is that person qualified as an expert?",
        f"{OPEN}. The record names nobody.",
    )
    yield (
        "What the result does not say",
        "It does not say that a use was not allowed, nor who trained or published the model. “No evidence” does not "
        "mean that a picture was not used. The p-value is not the chance that it was not used.",
    )


def _data(record: Record) -> str:
    scores = len(record.control_scores)
    compared = "no control pictures" if not scores else f"{scores} control pictures"
    if record.bank is not None:
        compared = f"{scores} scores of {record.bank.models} null models"
    mirror = "" if record.mirror is None else f", and {record.mirror.references} scores of the mirror test"
    flags = {single_line(f.name) for p in record.pictures for f in p.flags}
    raised = f" Flags were raised: {', '.join(sorted(flags))}." if flags else " No flag was raised."
    pictures = len(record.pictures)
    return f"{pictures} picture{'s' if pictures > 1 else ''}, compared with {compared}{mirror}.{raised}"


def _applies(record: Record) -> str:
    if record.models.base.startswith(SHIPPED):
        return "The base of this run is one of them."
    return f"Whether they hold for the base of this run, {single_line(record.models.base, 200)}: {OPEN}."


def _rates(record: Record) -> Iterator[str]:
    strict = record.level if record.strict_level is None else record.strict_level
    yield f"By its rules, at most about {100 * strict:.0f} of 100 unused pictures get “consistent with training”."
    if strict < record.level:
        yield f"At most about {100 * record.level:.0f} of 100 get that or “weak evidence”."
    if (power := power_of_silence(record)) is not None:
        if power.test == "bank":
            yield f"Of the pictures that the null models were trained on, {power.share:.0%} are found."
        else:
            yield f"At least {power.share:.0%} of used pictures are found in nearly all models so far from their base."
        if power.unless_mirrored:
            yield f"Not if the training mirrored the pictures. Whether it did: {OPEN}."
    else:
        yield f"How often a used picture is missed in such a model: {OPEN}."
    if record.control_scores and record.bank is None:
        yield "The rate holds only if the control pictures are by the same artist and were surely not used."
        yield f"Whether they are: {OPEN}."
    if record.bank is not None:
        yield f"The rate holds only if the null models were made as the model was. Whether they were: {OPEN}."


def _plan(record: Record) -> str:
    if record.plan is None:
        return f"No plan was stated before the run. How often something else was tried before: {OPEN}."
    return (
        f"It followed a plan that was stated beforehand (SHA-256 {single_line(record.plan.sha256, 64)}), at attempt "
        f"{len(record.plan.attempts)} by the count of whoever ran it. Whether the plan is older than the run: only a "
        "time stamp of it shows that."
    )


def _application(record: Record) -> Iterator[str]:
    yield "Everybody can repeat the run from the bundle and both models, and compare every score."
    if record.models.warning is not None:
        yield f"The tool warned: {record.models.warning}"
    if record.models.prompt == "" and not record.models.other_prompts:
        yield "No prompt was given. If the model was trained with one, the control test may find less."
    blocked = [p for p in record.pictures if any(f.blocks_verdict for f in p.flags)]
    if blocked:
        yield f"{len(blocked)} of {len(record.pictures)} pictures were not judged, because of a flag."
    yield f"Whether the model is the one that was published, and the base the one it was made from: {OPEN}, but for"
    yield "what the first paragraph of the report says."
