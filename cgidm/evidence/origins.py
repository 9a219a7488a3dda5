"""Where the models of a run come from, for its record: commits on the Hub, versions on Civitai."""

from collections.abc import Mapping

from ..intake.layout import Checkpoint
from ..intake.listing import Publication


def commits_of(roles: Mapping[str, Checkpoint]) -> dict[str, str]:
    """Return the commit of each model that was read from the Hub, by its role."""
    abouts = {role: c.listing.about for role, c in roles.items()}
    return {role: a.sha for role, a in abouts.items() if a is not None and a.publication is None}


def publications_of(roles: Mapping[str, Checkpoint]) -> dict[str, Publication]:
    """Return what Civitai states of each model that was read from there, by its role."""
    abouts = {role: c.listing.about for role, c in roles.items()}
    return {role: a.publication for role, a in abouts.items() if a is not None and a.publication is not None}
