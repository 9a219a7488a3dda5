"""Civitai's refusals and failures, each as one `UserError`.

Statuses: https://developer.civitai.com/site/guide/errors, and those of downloads in the site's source
(https://github.com/civitai/civitai, `getFileForModelVersion`): 401 not logged in, 403 early access, no access, or
downloads disabled, 410 archived.
"""

from collections.abc import Mapping

from ...errors import UserError


class CivitaiError(UserError):
    """Civitai did not hand out what was requested."""


class CivitaiNotFound(CivitaiError):
    """Civitai knows nothing of it under this address."""


class CivitaiUnreachable(CivitaiError):
    """Civitai did not answer."""


def explain_status(status: int, headers: Mapping[str, str], name: str, with_key: bool) -> CivitaiError:
    """Return what an HTTP status of 400 or more means.

    Args:
        status: of the answer.
        headers: of the answer, by their names in lower case.
        name: what was requested, for the error.
        with_key: whether the person's API key went along.
    """
    if status == 429:
        wait = headers.get("retry-after", "")
        return CivitaiError("intake.civitai_rate_limit", name=name, seconds=int(wait) if wait.isdigit() else 60)
    if status in (401, 403) and "html" in headers.get("content-type", ""):  # a page that asks for a human
        return CivitaiError("intake.civitai_web_page", name=name)
    if status in (401, 403):
        return CivitaiError("intake.civitai_forbidden" if with_key else "intake.civitai_gated", name=name)
    if status == 404:
        return CivitaiNotFound("intake.civitai_not_found", name=name)
    if status == 410:
        return CivitaiError("intake.civitai_no_download", name=name)
    return CivitaiError("intake.civitai_status", name=name, status=status)
