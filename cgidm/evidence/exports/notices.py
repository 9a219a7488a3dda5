"""Drafts of a takedown notice and of reports to Civitai and the Hub. Nobody but the rights holder can send them.

Every draft says what was found and how often such an answer is wrong. What the tool cannot know is a blank in square
brackets. None says that a right was infringed: that is for the person who signs.
"""

from collections.abc import Iterator

from ...messages.text import single_line
from ..record import Record
from .facts import ExportFacts, picture_line

BLANK = "[TO FILL IN: {}]"
FIRST = (
    "DRAFT. Read it, fill in what stands in square brackets, and take out these first lines before you send it. It is "
    "no legal advice. Ask a lawyer first if you can."
)
LAW = (
    "Whether training on a work, or publishing a model that was trained on it, infringes a right depends on the law "
    "and on licences. The result below does not answer that."
)
MISUSE = (
    "Whoever knowingly misrepresents in such a notice that material infringes is liable for damages (17 U.S.C. "
    "512(f)). Consider whether the use may be allowed by law before you send it."
)
WEAK = (
    "The result is WEAK EVIDENCE: of 100 pictures that were not used, about {percent} get it or a stronger one. Do not "
    "send this on the strength of the result alone. Say what else speaks for the use."
)


def takedown_notice(facts: ExportFacts) -> str:
    """Draft a notice with the six elements of 17 U.S.C. 512(c)(3)(A)."""
    return _join(
        [
            "Notice of claimed infringement, 17 U.S.C. 512(c)(3)",
            *_first_lines(facts, MISUSE),
            f"To: {_blank('the designated agent of the service provider; see its terms, or dmca.copyright.gov')}",
            "1. Copyrighted works (512(c)(3)(A)(ii))",
            *_works(facts),
            f"{_blank('title of each work, when and where it was published, registration number if there is one')}",
            "2. Material to be removed, and where it is (512(c)(3)(A)(iii))",
            *_model(facts),
            _blank(
                "why this material infringes an exclusive right in the works, in your own words; for example what it "
                "makes when it is used, with pictures"
            ),
            "What was found",
            *_finding(facts),
            "3. How to reach me (512(c)(3)(A)(iv))",
            f"{_blank('name, address, telephone number, e-mail address')}",
            "4. Good faith (512(c)(3)(A)(v))",
            "I have a good faith belief that use of the material in the manner complained of is not authorized by the "
            f"copyright owner, its agent, or the law. {_blank('keep this sentence only if it is true')}",
            "5. Accuracy and authority (512(c)(3)(A)(vi))",
            "The information in this notification is accurate. Under penalty of perjury, I am authorized to act on "
            "behalf of the owner of an exclusive right that is allegedly infringed. "
            f"{_blank('keep these sentences only if they are true')}",
            "6. Signature (512(c)(3)(A)(i))",
            f"{_blank('physical or electronic signature of the owner, or of a person authorized to act')}",
            f"{_blank('date')}",
        ]
    )


def civitai_report(facts: ExportFacts) -> str:
    """Write the text for Civitai's form on a model: report, claim that it uses one's art."""
    fields = [
        "Text for Civitai: on the model's page, Report, the choice for one's own art (ownership)",
        *_first_lines(facts),
        f"Name: {_blank('your name')}",
        f"Email: {_blank('your e-mail address')}",
        f"Phone: {_blank('optional')}",
        f"Images: {_blank('upload the pictures that are listed below')}",
        "Comment:",
        f"AIR: {facts.air or _blank('urn:air:...; it stands on the page of the model')}",
        f"Version id: {facts.version or _blank('the number after modelVersionId= in the address')}",
        *_model(facts),
        "My works:",
        *_works(facts),
        "What was found:",
        *_finding(facts),
        f"What I ask for: {_blank('for example: remove this version, name me, or talk with me')}",
    ]
    return _join(fields)


def hub_report(facts: ExportFacts) -> str:
    """Write the text for a report to the Hub: a repository's discussion, or a message to its operator."""
    fields = [
        "Text for the Hub: on the repository's page, the menu with three dots, Report",
        *_first_lines(facts),
        f"Repository and commit: {facts.address or _blank('owner/name, and the commit')}",
        *_model(facts),
        "My works:",
        *_works(facts),
        "What was found:",
        *_finding(facts),
        f"Contact: {_blank('your name and e-mail address')}",
        f"What I ask for: {_blank('for example: remove these files')}",
    ]
    return _join(fields)


def finding_sentences(record: Record, outcome: str, p_value: float | None) -> Iterator[str]:
    """State an answer and how often it is wrong."""
    strict = record.level if record.strict_level is None else record.strict_level
    weak = outcome == "weak evidence"
    level = record.level if weak else strict
    p = "" if p_value is None else f" (p = {p_value:.3g})"
    yield f"The answer is: {single_line(outcome)}{p}."
    yield (
        f"This is a statistical finding. Of 100 pictures that were not used, about {100 * level:.0f} get "
        f"{'this answer or a stronger one' if weak else 'this answer'} by mistake. The p-value is not the chance that "
        "the picture was not used."
    )


def _first_lines(facts: ExportFacts, *more: str) -> Iterator[str]:
    yield FIRST
    yield from more
    yield LAW
    if facts.outcome == "weak evidence":
        yield WEAK.format(percent=f"{100 * facts.record.level:.0f}")


def _works(facts: ExportFacts) -> Iterator[str]:
    pictures, named = facts.record.pictures, facts.named
    yield "\n".join(f"- {picture_line(p)}" for p in (named or pictures))
    if len(pictures) > 1:
        yield (
            f"The answer is about {len(pictures)} pictures together. "
            + (
                f"Of these the {len(named)} above have a positive answer of their own."
                if named
                else "None of them has a positive answer of its own: it cannot be said which of them were used."
            )
        )


def _model(facts: ExportFacts) -> Iterator[str]:
    yield f"The model: {facts.suspect}"
    yield f"Its address: {facts.address or _blank('the address of its page; the record does not show one')}"
    for file in facts.files:
        autov3 = file.autov3 or _blank("AutoV3, if the page shows it")
        yield f"- {file.name}\n  SHA-256 {file.sha256.upper()}\n  AutoV2 {file.autov2}\n  AutoV3 {autov3}"
    if facts.address is None:
        yield (
            "The record is about a file that was handed over. Compare its SHA-256 with the one that the page states "
            "before you say that it was published there."
        )


def _finding(facts: ExportFacts) -> Iterator[str]:
    record = facts.record
    yield (
        "I had it tested whether the model was trained on the works, with CGI-DM (Wu et al., CVPR 2024; the tool cgidm "
        f"{single_line(record.code.version)})."
    )
    yield " ".join(finding_sentences(record, facts.outcome, facts.p_value))
    yield "Anybody can check the evidence: it holds the record, the pictures as they were tested, and the digests."
    yield f"Seal of the evidence (SHA-256 of its manifest): {facts.seal or _blank('the seal that was printed')}"


def _blank(what: str) -> str:
    return BLANK.format(what)


def _join(parts: list[str]) -> str:
    return "\n\n".join(parts) + "\n"
