"""The public API: pictures and a pair of models in, scores and verdicts out."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .checks import Flag, check_run
from .config import RunConfig
from .images import Picture
from .models import ModelPair
from .partial import make_partial
from .recovery import RecoveryStep, recover
from .sampling import picture_generator
from .scores import loss_contrast, removed_alignment, removed_cosine, removed_gain
from .similarity import Embedders, similarity
from .verdict import Verdict, judge

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


@dataclass(frozen=True, eq=False)
class Result:
    """A run: pictures with verdicts, the controls' scores, the cost."""

    pictures: tuple[PictureResult, ...]
    control_scores: tuple[float, ...]
    not_computed: Mapping[str, str]  # similarity -> why it is not among the scores
    config: RunConfig
    fingerprints: dict[str, str]
    seconds: float


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
    seconds = time.monotonic() - start
    return Result(results, control_scores, embedders.missing, config, pair.fingerprints, seconds)


def score_controls(pair: ModelPair, controls: Sequence[Picture], config: RunConfig) -> tuple[float, ...]:
    """The verdict's score of each control picture."""
    if not controls:
        return ()
    z = pair.codec.encode(torch.stack([c.image for c in controls]).to(pair.device))
    generators = [picture_generator(config.seed, c.sha256, VERDICT_SCORE) for c in controls]
    return tuple(loss_contrast(pair, z, config.loss_draws, generators).tolist())


def run_pictures(
    pair: ModelPair,
    pictures: Sequence[Picture],
    control_scores: Sequence[float],
    config: RunConfig,
    embedders: Embedders,
) -> Generator[RecoveryStep, None, tuple[PictureResult, ...]]:
    """Recover, score and judge a batch of pictures: yields every step, returns the results."""
    images = torch.stack([p.image for p in pictures]).to(pair.device)
    z = pair.codec.encode(images)
    partial = make_partial(config.partial, pair.codec, images, z)

    def generators(purpose: str) -> list[torch.Generator]:
        return [picture_generator(config.seed, p.sha256, purpose) for p in pictures]

    steps: list[RecoveryStep] = []
    for step in recover(pair, z, partial, config.recovery, generators=generators("recovery")):
        steps.append(step)
        yield step
    z_hat = steps[-1].z
    table = {
        "removed_cosine": removed_cosine(z_hat, z, partial),
        "removed_gain": removed_gain(z_hat, z, partial),
        "removed_alignment": removed_alignment(z_hat, z, partial),
        "loss_contrast": loss_contrast(pair, z, config.loss_draws, generators(VERDICT_SCORE)),
    }
    starts, recoveries = pair.codec.decode(partial.start), pair.codec.decode(z_hat)
    table |= {name: similarity(embedder, images, recoveries) for name, embedder in embedders.ready.items()}
    results = []
    for i, picture in enumerate(pictures):
        scores, flags = {name: values[i].item() for name, values in table.items()}, check_run(steps, i)
        blocking = [f.explanation for f in flags if f.blocks_verdict]
        verdict = judge(scores[VERDICT_SCORE], control_scores, blocking)
        results.append(PictureResult(picture, scores, flags, starts[i].cpu(), recoveries[i].cpu(), verdict))
    return tuple(results)
