"""The conductor: from pictures and a pair of models to verdicts, in the one order that every caller follows.

`authentication_steps` is the protocol, a generator of events that can be put down at any of them and taken up again.
The command line, the page and a repeated run drain it, each in its own way; `authenticate` is the shortest.
"""

from collections.abc import Callable, Generator, Sequence

from .errors import UserError
from .judging.banks.null_bank import Bank, check_bank
from .judging.mirror_test import NullGroup
from .judging.result import Result
from .method.config import RunConfig
from .method.models import ModelPair
from .pictures.embedders import Embedders
from .pictures.images import Picture
from .run.events import RunEvent, RunProgress
from .run.plan import RunRequest
from .run.sitting import Sitting


def authenticate(
    pair: ModelPair,
    pictures: Sequence[Picture],
    controls: Sequence[Picture] = (),
    *,
    config: RunConfig | None = None,
    embedders: Embedders | None = None,
    bank: Bank | None = None,
    reference: Sequence[Picture] = (),
    null_groups: Sequence[NullGroup] = (),
    unrelated: ModelPair | None = None,
    progress: Callable[[RunEvent], None] | None = None,
) -> Result:
    """Recover and score each picture, and judge it against controls or a bank of null models.

    Args:
        pair: base and suspect (`load_pair`).
        pictures: the pictures in question, framed for the pair: `read_picture(path, pair.framing)`.
        controls: pictures known not to be in the training set, of the same artist. One that is a near-duplicate of a
            picture is not used.
        config: how the run is done; `PRESETS["paper"]` if not given.
        embedders: measure likeness as CLIP or DINO see it (`load_embedders`); none if not given.
        bank: null models instead of controls.
        reference: pictures by many hands, surely not used, for the mirror test. They are not needed for a base whose
            null scores were measured (`judging.mirror_test`). `read_reference_pictures` reads those that ship.
        null_groups: null scores of a table that was made for the base (`judging.mirror_test.read_own_table`).
        unrelated: a suspect of the same base and other pictures: it must not tell the pictures from the controls.
        progress: is called with each event.

    Raises:
        UserError: if the pictures, controls or bank cannot be used together.
    """
    settings = {"config": config or RunConfig(), "bank": bank, "reference": reference, "null_groups": null_groups}
    request = RunRequest(pictures=pictures, controls=controls, **settings)
    other = None if unrelated is None else lambda: unrelated
    result = None
    for event in authentication_steps(pair, request, embedders=embedders, unrelated=other):
        if progress is not None:
            progress(event)
        result = event.result
    assert result is not None, "the last event holds the result"
    return result


def authentication_steps(
    pair: ModelPair,
    request: RunRequest,
    progress: RunProgress | None = None,
    *,
    embedders: Embedders | None = None,
    unrelated: Callable[[], ModelPair] | None = None,
    steps: int | None = None,
    preview_seconds: float | None = None,
    controls_per_event: int | None = None,
) -> Generator[RunEvent]:
    """Carry a run out from where `progress` stands, yielding often. Closing the generator puts the run down.

    The order: plan (controls without near-duplicates, line-up), mirror test, expected power, scores of the controls,
    negative controls, verdicts ("answered"); then the recovery, which can only take them back, and a line-up's decoys.
    Where nothing but the recovery could change it, the answer is there after the mirror test. The last event is
    "finished", or "paused" after `steps`.

    Args:
        pair: base and suspect.
        request: pictures, controls or bank, configuration.
        progress: where an earlier sitting put the run down; from the beginning if not given.
        embedders: see `authenticate`.
        unrelated: loads the unrelated suspect when it is needed.
        steps: how many to take in this sitting: of the pictures, or of the decoys once these are judged.
        preview_seconds: time between two "preview" events; without it there are none.
        controls_per_event: controls scored between two events; all, if not given.

    Raises:
        UserError: if the pictures, controls or bank cannot be used together.
    """
    if not request.pictures:
        raise UserError("run.no_pictures")
    if request.bank is not None:
        if request.controls:
            raise UserError("run.bank_and_controls")
        if unrelated is not None:
            raise UserError("run.bank_and_unrelated")
        if pair.others:
            raise UserError("run.bank_and_others")
        check_bank(request.bank, pair.fingerprints, pair.is_full_network, request.config, pair.prompts)
    sitting = Sitting(pair, request, progress or RunProgress(), embedders or Embedders(), unrelated)
    yield from sitting.events(steps, preview_seconds, controls_per_event)
