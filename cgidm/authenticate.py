"""The public API: pictures and a pair of models in, scores and verdicts out."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .checks import Flag, check_run, stopped
from .config import RunConfig
from .images import Picture
from .models import ModelPair
from .partial import make_partial
from .recovery import RecoveryStep
from .sampling import picture_generator
from .scores import loss_contrast, removed_alignment, removed_cosine, removed_gain
from .similarity import Embedders, similarity
from .state import RunState, continue_recovery, new_state
from .verdict import SetVerdict, Verdict, judge, judge_set

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


@dataclass(frozen=True, eq=False)
class Result:
    """A run: pictures with verdicts, the controls' scores, the cost."""

    pictures: tuple[PictureResult, ...]
    control_scores: tuple[float, ...]
    not_computed: Mapping[str, str]  # similarity -> why it is not among the scores
    config: RunConfig
    fingerprints: dict[str, str]
    seconds: float
    together: SetVerdict | None = None  # of several pictures


def authenticate(
    pair: ModelPair,
    pictures: Sequence[Picture],
    controls: Sequence[Picture] = (),
    config: RunConfig | None = None,
    embedders: Embedders | None = None,
    on_step: Callable[[RecoveryStep], None] | None = None,
) -> Result:
    """Recover and score every picture, and judge each against `controls`, pictures known not to be in the set.

    Controls are scored without a recovery: the verdict's score does not need one. Similarities as networks see them
    are measured with `embedders` (`similarity.load_embedders`), if given.
    """
    config, embedders, start = config or RunConfig(), embedders or Embedders(), time.monotonic()
    control_scores = score_controls(pair, controls, config)
    run = run_pictures(pair, pictures, control_scores, config, embedders)
    while True:
        try:
            step = next(run)
        except StopIteration as end:
            results = end.value
            break
        if on_step is not None:
            on_step(step)
    return make_result(pair, results, control_scores, config, embedders, time.monotonic() - start)


def make_result(
    pair: ModelPair,
    pictures: tuple[PictureResult, ...],
    control_scores: tuple[float, ...],
    config: RunConfig,
    embedders: Embedders,
    seconds: float,
) -> Result:
    """A run's pictures together: several of them also get one answer."""
    together = None
    if len(pictures) > 1:
        blocking = [f.explanation for r in pictures for f in r.flags if f.blocks_verdict]
        together = judge_set([r.scores.get(VERDICT_SCORE) for r in pictures], control_scores, blocking)
    return Result(pictures, control_scores, embedders.missing, config, pair.fingerprints, seconds, together)


def score_controls(pair: ModelPair, controls: Sequence[Picture], config: RunConfig) -> tuple[float, ...]:
    """The verdict's score of each control picture."""
    if not controls:
        return ()
    z = pair.codec.encode(torch.stack([c.image for c in controls]).to(pair.device))
    generators = _generators(controls, config, VERDICT_SCORE)
    return tuple(loss_contrast(pair, z, config.loss_draws, generators).tolist())


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
    table = _score(pair, pictures, state, config) if complete else {}
    if complete:
        table |= {name: similarity(embedder, images, recoveries) for name, embedder in embedders.ready.items()}
    contrast, ratio = state.contrast.cpu(), state.gradient_ratio.cpu()
    results = []
    for i, picture in enumerate(pictures):
        scores = {name: values[i].item() for name, values in table.items()}
        flags = check_run(contrast[:, i], ratio[:, i]) if complete else (stopped(state.steps, config.recovery.steps),)
        blocking = [f.explanation for f in flags if f.blocks_verdict]
        verdict = judge(scores.get(VERDICT_SCORE), control_scores, blocking)
        curve = tuple(contrast[:, i].tolist())
        results.append(PictureResult(picture, scores, flags, starts[i], recoveries[i], verdict, curve))
    return tuple(results)


def decode_run(pair: ModelPair, state: RunState) -> tuple[Float[Tensor, "b 3 H W"], Float[Tensor, "b 3 H W"]]:
    """The partial and the recovered pictures of a run, on the CPU, wherever it stands."""
    here = pair.device
    return pair.codec.decode(state.start.to(here)).cpu(), pair.codec.decode(state.z_hat.to(here)).cpu()


def _score(
    pair: ModelPair, pictures: Sequence[Picture], state: RunState, config: RunConfig
) -> dict[str, Float[Tensor, " b"]]:
    z, z_hat, partial = state.z, state.z_hat, state.partial
    return {
        "removed_cosine": removed_cosine(z_hat, z, partial),
        "removed_gain": removed_gain(z_hat, z, partial),
        "removed_alignment": removed_alignment(z_hat, z, partial),
        "loss_contrast": loss_contrast(
            pair, z.to(pair.device), config.loss_draws, _generators(pictures, config, VERDICT_SCORE)
        ),
    }


def _generators(pictures: Sequence[Picture], config: RunConfig, purpose: str) -> list[torch.Generator]:
    return [picture_generator(config.seed, p.sha256, purpose) for p in pictures]
