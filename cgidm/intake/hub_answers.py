"""The Hub's refusals and failures, each as one `UserError`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import errors

from ..errors import UserError


class HubError(UserError):
    """The Hub did not hand out what was requested."""


class HubUnreachable(HubError):
    """The Hub did not answer."""


@contextmanager
def explain_hub_errors(repo: str, revision: str | None) -> Iterator[None]:
    """Turn the Hub client's exceptions inside the block into `HubError`s; other exceptions pass.

    Args:
        repo: the id of the repository that is read, for the error.
        revision: its branch, tag or commit.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        explained = _explain(error, repo, revision)
        if explained is None:
            raise
        raise explained from error


def _explain(error: Exception, repo: str, revision: str | None) -> HubError | None:
    match error:
        case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError():
            return HubUnreachable("intake.hub_unreachable", repo=repo)
        case errors.GatedRepoError():  # a kind of RepositoryNotFoundError: it goes first
            return HubError("intake.hub_gated", repo=repo)
        case errors.RepositoryNotFoundError():
            return HubError("intake.hub_not_found", repo=repo)
        case errors.RevisionNotFoundError():
            return HubError("intake.hub_revision_not_found", repo=repo, revision=revision or "main")
        case errors.EntryNotFoundError():
            return HubError("intake.hub_file_gone", repo=repo)
        case errors.DisabledRepoError():
            return HubError("intake.hub_disabled", repo=repo)
        case errors.HfHubHTTPError():
            return _explain_status(error, repo)
    # the client's transport (httpx, by whatever name it comes) found no server, or none that answered in time
    if type(error).__module__.startswith("httpx"):
        return HubUnreachable("intake.hub_unreachable", repo=repo)
    return None


def _explain_status(error: Any, repo: str) -> HubError:
    status, headers = error.response.status_code, error.response.headers
    if status == 429:
        wait = headers.get("Retry-After", "")
        return HubError("intake.hub_rate_limit", repo=repo, seconds=int(wait) if wait.isdigit() else 300)
    if status in (401, 403):
        return HubError("intake.hub_forbidden", repo=repo)
    return HubError("intake.hub_status", repo=repo, status=status)
