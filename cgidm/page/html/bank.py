"""What making a bank of null models takes, as HTML: what goes in, what it costs, where prices stand."""

from ..runs.bank_commands import UPLOAD, WORKS, BankModels, choose_flavor
from ..runs.bank_cost import BankCost
from .markup import bullets, html_text, wrap_page
from .progress import format_duration

PRICES = "https://huggingface.co/docs/hub/jobs-pricing"  # the price basis: numbers would age
LEAST_SHOWN = 0.1  # GB
BANK_SEED = 0  # that `cgidm bank` scores with


def bank_html(cost: BankCost, models: BankModels, language: str, *, seed: float | None = 0) -> str:
    """Say what the commands below it need and cost.

    Args:
        cost: of the bank.
        models: that it is made for.
        language: the visitor's language.
        seed: of the form, or of the run.
    """
    lines = [html_text(language, "bank.make.works", folder=WORKS)]
    if models.upload is not None:
        lines.append(html_text(language, "bank.make.file", file=models.upload, folder=WORKS))
    lines += [_amount(cost, language), _memory(cost, language), _time(cost, language)]
    lines += _rented(language) if choose_flavor(cost.needed) else [html_text(language, "bank.make.memory.over")]
    lines.append(html_text(language, "bank.make.then"))
    if seed != BANK_SEED:
        lines.append(html_text(language, "bank.make.seed"))
    why = f'<p role="status">{html_text(language, "bank.make.why")}</p>'
    return wrap_page([why, bullets(lines)], language)


def _rented(language: str) -> list[str]:
    link = f'<a href="{PRICES}" target="_blank" rel="noopener noreferrer">{html_text(language, "bank.make.prices")}</a>'
    rented = f"{html_text(language, 'bank.make.rented', folder=WORKS)} {link}"
    return [rented, html_text(language, "bank.make.before", login="hf auth login", upload=UPLOAD)]


def _amount(cost: BankCost, language: str) -> str:
    counts = {"works": cost.works, "models": cost.models, "images": cost.images, "scores": cost.scores}
    if cost.steps is None:
        return html_text(language, "bank.make.amount.unknown", **counts)
    return html_text(language, "bank.make.amount", **counts, steps=cost.steps, batch=cost.batch)


def _memory(cost: BankCost, language: str) -> str:
    if cost.memory is None:
        return html_text(language, "bank.make.memory.unknown", gb=f"{max(LEAST_SHOWN, cost.weights / 1e9):.1f}")
    return html_text(language, "bank.make.memory", gb=f"{max(LEAST_SHOWN, cost.memory / 1e9):.1f}")


def _time(cost: BankCost, language: str) -> str:
    if cost.seconds is None:
        return html_text(language, "bank.make.time.unknown")
    low, high = (format_duration(language, s) for s in cost.seconds)
    return html_text(language, "bank.make.time", low=low, high=high)
