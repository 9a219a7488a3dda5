"""The public API: pictures and a pair of models in, scores and verdicts out."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import UserError
from .judging.distance import prediction_shift, weight_shift
from .judging.flags import Flag, check_run, stopped_flag
from .judging.lineup import Lineup, Panel, plan_lineup
from .judging.negative_controls import blind_flags, generated_flags, innocent_flags, stands_out_flags
from .judging.null_bank import Bank, bank_flags, check_bank
from .judging.portfolio import SetVerdict, holm, judge_set
from .judging.power import find_table
from .judging.verdict import Verdict, judge
from .method.config import RunConfig
from .method.models import ModelPair
from .method.partial import make_partial
from .method.recovery import RecoveryStep
from .method.run_state import RunState, continue_recovery, new_state
from .method.sampling import picture_generator
from .method.scores import loss_contrast, removed_alignment, removed_cosine, removed_gain
from .method.views import AS_GIVEN, VIEWS
from .pictures.duplicates import alike, copy_notes, first_alike, tie_notes
from .pictures.embedders import SHIPPED_NAME, Embedders, similarity
from .pictures.images import Picture
from .provenance import describe_machine

VERDICT_SCORE = "loss_contrast"


@dataclass(frozen=True, eq=False)
class PictureResult:
    """What one picture's run gave."""

    picture: Picture
    scores: dict[str, float]
    flags: tuple[Flag, ...]
    partial: Float[Tensor, "3 H W"]  # decoded start, in [0, 1]
    recovered: Float[Tensor, "3 H W"]
    verdict: Verdict
    contrast: tuple[float, ...]  # Eq. 7 per latent entry, of each step
    shift: float | None = None  # `prediction_shift`: how far the suspect has moved from its base on this picture
    view: str = AS_GIVEN  # the one of `config.views` that the verdict's score is that of

    @property
    def panel(self) -> Panel:
        """What is shown of it."""
        return Panel(self.picture.image, self.partial, self.recovered)


@dataclass(frozen=True, eq=False)
class Result:
    """A run: pictures with verdicts, the scores that they are compared with, the cost."""

    pictures: tuple[PictureResult, ...]
    control_scores: tuple[float, ...]  # of the controls, or the null scores of the bank
    not_computed: Mapping[str, str]  # similarity -> why it is not among the scores
    config: RunConfig
    fingerprints: dict[str, str]
    seconds: float
    together: SetVerdict | None = None  # of several pictures
    machine: Mapping[str, Any] = field(default_factory=dict)  # device, precision, threads
    controls: tuple[Picture, ...] = ()  # whose scores they are; empty where the caller scored them
    bank: Bank | None = None
    power: float | None = None  # share of used pictures that would be found in such a suspect, where it is known
    weight_shift: float | None = None  # how far the weights of a whole network have moved from its base's
    lineup: Lineup | None = None  # where `config` asks for one
    decoys: tuple[Panel, ...] = ()  # of `lineup.decoys`

    @property
    def shown(self) -> list[tuple[Panel, ...]]:
        """The panels of each round of the line-up, as they stand."""
        return [] if self.lineup is None else self.lineup.in_order([r.panel for r in self.pictures], self.decoys)


def authenticate(
    pair: ModelPair,
    pictures: Sequence[Picture],
    controls: Sequence[Picture] = (),
    config: RunConfig | None = None,
    embedders: Embedders | None = None,
    on_step: Callable[[RecoveryStep], None] | None = None,
    *,
    bank: Bank | None = None,
    unrelated: ModelPair | None = None,
) -> Result:
    """Recover and score every picture, and judge each against `controls`, pictures known not to be in the set.

    With a `bank` instead, against what its null models answered: then nothing need be known of any picture. An
    `unrelated` suspect of the same base, trained on other pictures, must not tell the pictures from the controls.

    Controls are scored without a recovery: the verdict's score does not need one. A control that is nearly the same
    as a picture is not used: it cannot be known not to be in the set and be asked about at once. Similarities as
    networks see them are measured with `embedders` (`similarity.load_embedders`), if given. `on_step` sees every step:
    those of the pictures, then those of a line-up's decoys.
    """
    config, embedders, start = config or RunConfig(), embedders or Embedders(), time.monotonic()
    if bank is not None:
        if controls or unrelated is not None:
            raise UserError("a bank and controls were given; accepted: one of them, a bank has its own null scores")
        check_bank(bank, pair.fingerprints, pair.is_full_network, config)
    pictures, controls = set_aside_copies(pictures, controls)
    lineup = None if config.lineup is None else plan_lineup(pictures, controls, config.lineup, config.seed)
    control_scores = score_controls(pair, controls, config) if bank is None else bank.content.nulls
    run = run_pictures(pair, pictures, control_scores, config, embedders)
    while True:
        try:
            step = next(run)
        except StopIteration as end:
            results = end.value
            break
        if on_step is not None:
            on_step(step)
    strange = [()] * len(pictures) if unrelated is None else _strange(unrelated, pictures, controls, config)
    results = [replace(r, flags=(*r.flags, *more)) for r, more in zip(results, strange, strict=True)]
    decoys = () if lineup is None else recover_decoys(pair, [controls[i] for i in lineup.decoys], config, on_step)
    seconds = time.monotonic() - start
    result = make_result(pair, results, control_scores, config, embedders, seconds, tuple(controls), bank)
    return replace(result, lineup=lineup, decoys=decoys)


def _strange(
    unrelated: ModelPair, pictures: Sequence[Picture], controls: Sequence[Picture], config: RunConfig
) -> list[tuple[Flag, ...]]:
    """The flags of pictures that stand out from the controls under a suspect that was trained on neither."""
    return stands_out_flags(*(score_controls(unrelated, group, config) for group in (pictures, controls)))


def set_aside_copies(
    pictures: Sequence[Picture], controls: Sequence[Picture]
) -> tuple[Sequence[Picture], Sequence[Picture]]:
    """The controls that are near-duplicates of no picture, and the pictures, whose notes name the others."""
    table = alike([p.image for p in pictures], [c.image for c in controls])
    notes = copy_notes([PurePath(c.name).name for c in controls], table)
    noted = [replace(p, notes=(*p.notes, *n)) for p, n in zip(pictures, notes, strict=True)]
    return noted, [c for c, copied in zip(controls, table.T, strict=True) if not copied.any()]


def make_result(
    pair: ModelPair,
    pictures: Sequence[PictureResult],
    control_scores: tuple[float, ...],
    config: RunConfig,
    embedders: Embedders,
    seconds: float,
    controls: tuple[Picture, ...] = (),
    bank: Bank | None = None,
) -> Result:
    """Judge the pictures of a run; several of them also get one answer together.

    In it near-duplicates count as one, the first of them, whatever their scores; the notes of each name the others.
    """
    first = first_alike(alike([r.picture.image for r in pictures]))
    notes = tie_notes([PurePath(r.picture.name).name for r in pictures], first)
    power = expect_power(pair, [r.shift for r in pictures if r.shift is not None], bank)
    weights = weight_shift(pair)
    common = _common_flags(pictures, controls, embedders, weights, bank)
    judged = []
    for r, n in zip(pictures, notes, strict=True):
        flags = (*r.flags, *common)
        blocking = [f.note for f in flags if f.blocks_verdict]
        verdict = judge(r.scores.get(VERDICT_SCORE), control_scores, blocking, power=power)
        picture = replace(r.picture, notes=(*r.picture.notes, *n))
        judged.append(replace(r, picture=picture, flags=flags, verdict=verdict))
    together = None
    if len(judged) > 1:
        counted = [r for i, r in enumerate(judged) if first[i] == i]
        blocking = [f.note for r in counted for f in r.flags if f.blocks_verdict]
        members = () if bank is None else bank.content.members
        scores = [r.scores.get(VERDICT_SCORE) for r in counted]
        together = judge_set(scores, control_scores, blocking, members=members, power=power)
        together = replace(together, adjusted=holm([r.verdict.p_value for r in judged]))
    shared = (embedders.missing, config, pair.fingerprints, seconds, together)
    return Result(tuple(judged), control_scores, *shared, describe_machine(pair), controls, bank, power, weights)


def _common_flags(
    pictures: Sequence[PictureResult],
    controls: Sequence[Picture],
    embedders: Embedders,
    weights: float | None,
    bank: Bank | None,
) -> tuple[Flag, ...]:
    """What speaks against the whole run: controls of another kind; null models made otherwise than the suspect."""
    if bank is not None:
        return bank_flags(bank.content, {r.picture.sha256: r.shift for r in pictures if r.shift is not None}, weights)
    embedder = embedders.ready.get(SHIPPED_NAME)
    return blind_flags([r.picture.image for r in pictures], [c.image for c in controls], embedder)


def expect_power(pair: ModelPair, shifts: Sequence[float], bank: Bank | None = None) -> float | None:
    """The share of used pictures that would be found in a suspect so strongly trained; None if it was never measured.

    By the table of the base, or by what the bank's own models betray of their members; the less hopeful of the two.
    `shifts` are those of the pictures (`measure_shift`), by which an adapter is looked up; without any, no suspect is.
    """
    table = find_table(list(pair.fingerprints.values()))
    looked_up = None
    if table is not None and shifts:
        weights = weight_shift(pair)
        mean = sum(shifts) / len(shifts)
        looked_up = table.power(mean, "lora") if weights is None else table.power(weights, "dreambooth")
    known = (looked_up, None if bank is None else bank.content.power())
    return min((p for p in known if p is not None), default=None)


def measure_shift(
    pair: ModelPair, pictures: Sequence[Picture], z: Float[Tensor, "b c h w"], config: RunConfig
) -> Float[Tensor, " b"]:
    """How far the suspect has moved from its base on each picture, of latents `z`: the same before a run and after."""
    return prediction_shift(pair, z.to(pair.device), _generators(pictures, config, "shift"))


def score_controls(pair: ModelPair, controls: Sequence[Picture], config: RunConfig) -> tuple[float, ...]:
    """The verdict's score of each control picture."""
    if not controls:
        return ()
    return tuple(score_views(pair, controls, config).amax(0).tolist())


def score_views(
    pair: ModelPair, pictures: Sequence[Picture], config: RunConfig, z: Float[Tensor, "b c h w"] | None = None
) -> Float[Tensor, "v b"]:
    """`loss_contrast` of each picture in each of `config.views`; the verdict's score is the largest of a picture's.

    The largest over the same views is taken for pictures and controls alike. It is a score like any other, so the
    conformal p-value stays exact; a search costs power instead, since controls have as many tries. Every view draws
    from generators of its own: what it gives does not depend on the other views. `z` are the latents of the pictures
    as given, where they are known.
    """
    rows = []
    for view in config.views:
        known = z if view == AS_GIVEN else None
        if known is None:
            known = pair.codec.encode(torch.stack([VIEWS[view](p.image) for p in pictures]).to(pair.device))
        purpose = VERDICT_SCORE if view == AS_GIVEN else f"{VERDICT_SCORE}, {view}"
        rows.append(loss_contrast(pair, known, config.loss_draws, _generators(pictures, config, purpose)))
    return torch.stack(rows)


def run_pictures(
    pair: ModelPair,
    pictures: Sequence[Picture],
    control_scores: Sequence[float],
    config: RunConfig,
    embedders: Embedders,
) -> Generator[RecoveryStep, None, tuple[PictureResult, ...]]:
    """Recover, score and judge a batch of pictures: yields every step, returns the results."""
    state = start_run(pair, pictures, config)
    yield from continue_recovery(pair, state, config.recovery)
    return finish_run(pair, pictures, state, control_scores, config, embedders)


def start_run(pair: ModelPair, pictures: Sequence[Picture], config: RunConfig) -> RunState:
    """The state of a run before its first step; `state.continue_recovery` takes the steps."""
    images = torch.stack([p.image for p in pictures]).to(pair.device)
    z = pair.codec.encode(images)
    partial = make_partial(config.partial, pair.codec, images, z, config.start)
    return new_state(z, partial, _generators(pictures, config, "recovery"))


def recover_decoys(
    pair: ModelPair,
    decoys: Sequence[Picture],
    config: RunConfig,
    on_step: Callable[[RecoveryStep], None] | None = None,
) -> tuple[Panel, ...]:
    """What a line-up shows of control pictures: recovered as the pictures are, neither scored nor judged."""
    state = start_run(pair, decoys, config)
    for step in continue_recovery(pair, state, config.recovery):
        if on_step is not None:
            on_step(step)
    return make_panels(pair, decoys, state)


def make_panels(pair: ModelPair, pictures: Sequence[Picture], state: RunState) -> tuple[Panel, ...]:
    """What is shown of the pictures of a run, wherever it stands."""
    return tuple(map(Panel, [p.image for p in pictures], *decode_run(pair, state)))


def finish_run(
    pair: ModelPair,
    pictures: Sequence[Picture],
    state: RunState,
    control_scores: Sequence[float],
    config: RunConfig,
    embedders: Embedders,
) -> tuple[PictureResult, ...]:
    """Score and judge what a run has recovered. One that was stopped before its last step is shown, not judged."""
    images = torch.stack([p.image for p in pictures])
    starts, recoveries = decode_run(pair, state)
    complete = state.steps >= config.recovery.steps
    table, views = _score(pair, pictures, state, config) if complete else ({}, [AS_GIVEN] * len(pictures))
    if complete:
        table |= {name: similarity(embedder, images, recoveries) for name, embedder in embedders.ready.items()}
    contrast, ratio = state.contrast.cpu(), state.gradient_ratio.cpu()
    shift, more = _look_further(pair, pictures, state, images, config) if complete else (None, [()] * len(pictures))
    results = []
    for i, picture in enumerate(pictures):
        scores = {name: values[i].item() for name, values in table.items()}
        flags = (
            check_run(contrast[:, i], ratio[:, i]) if complete else (stopped_flag(state.steps, config.recovery.steps),)
        )
        flags = (*flags, *more[i])
        blocking = [f.note for f in flags if f.blocks_verdict]
        verdict = judge(scores.get(VERDICT_SCORE), control_scores, blocking)
        moved = None if shift is None else shift[i].item()
        curve = tuple(contrast[:, i].tolist())
        results.append(PictureResult(picture, scores, flags, starts[i], recoveries[i], verdict, curve, moved, views[i]))
    return tuple(results)


def _look_further(
    pair: ModelPair, pictures: Sequence[Picture], state: RunState, images: Float[Tensor, "b 3 H W"], config: RunConfig
) -> tuple[Float[Tensor, " b"], list[tuple[Flag, ...]]]:
    """How far the suspect has moved on each picture, and what the negative controls say of each."""
    common = innocent_flags(pair, state.z.to(pair.device), config.seed)
    return measure_shift(pair, pictures, state.z, config), [(*common, *own) for own in generated_flags(pair, images)]


def decode_run(pair: ModelPair, state: RunState) -> tuple[Float[Tensor, "b 3 H W"], Float[Tensor, "b 3 H W"]]:
    """The partial and the recovered pictures of a run, on the CPU, wherever it stands."""
    here = pair.device
    return pair.codec.decode(state.start.to(here)).cpu(), pair.codec.decode(state.z_hat.to(here)).cpu()


def _score(
    pair: ModelPair, pictures: Sequence[Picture], state: RunState, config: RunConfig
) -> tuple[dict[str, Float[Tensor, " b"]], list[str]]:
    """Every score of each picture, and the view that gave the verdict's."""
    z, z_hat, partial = state.z, state.z_hat, state.partial
    largest = score_views(pair, pictures, config, z.to(pair.device)).max(0)
    table = {
        "removed_cosine": removed_cosine(z_hat, z, partial),
        "removed_gain": removed_gain(z_hat, z, partial),
        "removed_alignment": removed_alignment(z_hat, z, partial),
        VERDICT_SCORE: largest.values,
    }
    best: list[str] = [config.views[i] for i in map(int, largest.indices)]
    return table, best


def _generators(pictures: Sequence[Picture], config: RunConfig, purpose: str) -> list[torch.Generator]:
    return [picture_generator(config.seed, p.sha256, purpose) for p in pictures]
