"""What an answer that finds nothing says of how many used pictures would be found."""

from ...judging.verdict import SILENT_MIRROR
from ..record import OLDER, Record
from .language import SILENT


def power_of_silence(record: Record) -> float | None:
    """Return the share of used pictures that is found in nearly all such suspects, where nothing is found.

    None: something is found; or it was never measured; or an older format, whose share is a mean over suspects.
    """
    judged = [j for j in (*record.pictures, record.set) if j is not None]
    silent = any(j.outcome == SILENT or j.reason.code in SILENT_MIRROR for j in judged)
    return record.expected_power if silent and record.format not in OLDER else None


def holds_without_mirroring(record: Record) -> bool:
    """Tell whether the expected power holds only if the training did not mirror pictures, which nobody noted."""
    return record.mirror is not None and record.models.mirrored_training is None
