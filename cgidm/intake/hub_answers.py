"""Everything that the Hub answers instead of what was asked for, each in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import errors

from ..errors import UserError

LOCAL = "accepted: a model given as a file or folder"


class HubError(UserError):
    """The Hub did not give what was asked for; says why and what to do."""


class Unreachable(HubError):
    """No answer at all."""


@contextmanager
def in_sentences(repo: str, revision: str | None) -> Iterator[None]:
    """Whatever the Hub does not grant inside becomes a `HubError`; other mistakes pass."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = _sentence(error, repo, revision)
        if said is None:
            raise
        raise said from error


def _sentence(error: Exception, repo: str, revision: str | None) -> HubError | None:
    match error:
        case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError():
            return Unreachable(f"the Hub cannot be reached and {repo} is not in the local cache; {LOCAL}")
        case errors.GatedRepoError():  # a kind of RepositoryNotFoundError: it goes first
            terms = f"its owner admits only who accepts the terms at https://huggingface.co/{repo}"
            accepted = "accepted: the token of an account that was admitted (hf auth login)"
            return HubError(f"{repo} is gated: {terms}; {accepted}")
        case errors.RepositoryNotFoundError():
            return HubError(f"{repo} is not on the Hub, or private; accepted: a public model, or one your token opens")
        case errors.RevisionNotFoundError():
            return HubError(f"{repo} has no revision {revision}; accepted: a branch, a tag or a commit of it")
        case errors.EntryNotFoundError():
            return HubError(f"a file of {repo} is not on the Hub any more; accepted: a file that is there. Ask again")
        case errors.DisabledRepoError():
            return HubError(f"{repo} was disabled by the Hub; accepted: a model that it hands out")
        case errors.HfHubHTTPError():
            return HubError(_status_sentence(error, repo))
    # the client's transport (httpx, by whatever name it comes) found nobody, or nobody in time
    if type(error).__module__.startswith("httpx"):
        return Unreachable(f"the Hub cannot be reached and {repo} is not in the local cache; {LOCAL}")
    return None


def _status_sentence(error: Any, repo: str) -> str:
    status, headers = error.response.status_code, error.response.headers
    if status == 429:
        wait = headers.get("Retry-After", "")
        when = f"in {wait} seconds" if wait.isdigit() else "in a few minutes"
        return f"the Hub answers no more questions for now (rate limit), {repo} was not read: try again {when}; {LOCAL}"
    if status in (401, 403):
        return f"the Hub does not let this token read {repo}; accepted: a token that may (hf auth login), or none"
    return f"the Hub answers {status} when asked for {repo}: try again later; {LOCAL}"
