"""The commands that make a bank of null models: on one's own machine, and as a job on rented hardware.

They are pasted into a shell, and hold what strangers typed or named: each word is quoted, and a text that a terminal
could take for something else is refused.
"""

import shlex
from dataclasses import dataclass

from cgidm import UserError

JOB_SCRIPT = "scripts/jobs/bank_job.py"
WORKS, BANK = "my-works", "my-bank"  # a folder or repository of the works, and one of the bank
UPLOAD = f"hf upload {WORKS} {WORKS} . --type=dataset --private"  # what comes before the job
TIMEOUT = "12h"  # after which a job ends, whatever it has done
# GPUs of https://huggingface.co/docs/hub/jobs-pricing: the flavour's name, GB of memory; `hf jobs hardware` lists them
FLAVORS = (("t4-small", 16), ("a10g-small", 24), ("l40sx1", 48), ("a100-large", 80), ("h200", 141))


@dataclass(frozen=True, kw_only=True)
class BankModels:
    """The models that a bank is made for, as a visitor named them."""

    base: str
    suspect: str  # "" if a file was handed over
    upload: str | None = None  # the name of that file
    prompt: str = ""

    def check(self) -> None:
        """Refuse what cannot be pasted into a terminal: a line break, or a character that steers it.

        Raises:
            UserError: if a name or the prompt holds one.
        """
        if not all(text.isprintable() for text in (self.base, self.suspect, self.upload or "", self.prompt)):
            raise UserError("page.bank_unprintable")

    @property
    def options(self) -> list[str]:
        """What both commands say of the models; a file of one's own is where the command runs."""
        suspect = self.suspect if self.upload is None else f"./{self.upload}"
        return [f"--base={self.base}", f"--suspect={suspect}", f"--prompt={self.prompt}"]


def own_command(models: BankModels) -> str:
    """Write the command for one's own machine."""
    return shlex.join(["cgidm", "bank", WORKS, *models.options, f"--out={BANK}"])


def job_command(models: BankModels, flavor: str) -> str:
    """Write the command that rents a machine for it.

    Args:
        models: of the bank.
        flavor: of the machine, see `choose_flavor`.
    """
    rented = [f"--flavor={flavor}", f"--timeout={TIMEOUT}", "--secrets=HF_TOKEN"]
    places = [f"--pictures={WORKS}", f"--result={BANK}"]
    return shlex.join(["hf", "jobs", "uv", "run", *rented, JOB_SCRIPT, *places, *models.options])


def choose_flavor(needed: float) -> str | None:
    """Choose the smallest GPU that has so many bytes; None, if none has."""
    return next((name for name, size in FLAVORS if needed < size * 1e9), None)
