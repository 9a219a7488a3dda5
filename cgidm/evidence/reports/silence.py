"""What an answer that finds nothing says of how many used pictures would be found."""

from ...judging.tables.power import RunPower, StatedPower
from ..record import MEAN_POWER, PictureRecord, Record, SetRecord


def power_of_silence(record: Record) -> StatedPower | None:
    """Return the share of used pictures that would be found, where nothing is found.

    None: something is found; or it was never measured; or an older format, whose share is a mean over suspects.
    """
    judged = [j for j in (*record.pictures, record.set) if j is not None]
    return _run_power(record).behind_all(judged)


def power_of_answer(judged: PictureRecord | SetRecord, record: Record) -> StatedPower | None:
    """Return the share that the tests behind one answer would find; None as in `power_of_silence`."""
    return _run_power(record).behind(judged.witnesses)


def power_of_run(record: Record) -> StatedPower | None:
    """Return the share that the tests of a run would find, if all of them spoke; None as in `power_of_silence`."""
    return _run_power(record).largest


def _run_power(record: Record) -> RunPower:
    known = record.format not in MEAN_POWER
    return RunPower(
        expected=record.expected_power if known else None,
        controls=record.control_power if known else None,
        bank=record.bank is not None,
        mirror_by_bank=record.mirror is not None and record.mirror.source == "bank",
        mirrored_training=record.models.mirrored_training,
    )
