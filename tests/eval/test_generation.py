"""The paper's pipelines: diffusers' own samples, members come back, and what every method promises."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

from cgidm import ModelPair, NetworkEpsModel, Schedule, block_mask
from cgidm.families.conditioning import condition_on_prompt
from cgidm.method.partial import right_half_mask
from eval.benchmark.methods import generation
from eval.benchmark.methods.base import Case, row_of
from eval.benchmark.methods.generation import DDNM, Img2Img, Text2Img, ddim, leading_rows
from tests.support import tiny
from tests.support.errors import refuses
from tests.support.worlds import stable_diffusion_schedule, world

STEPS = 20  # of the comparison with diffusers
SMALL = {"images": 3, "inference_steps": 10}
PIPELINES = (Text2Img(**SMALL), Img2Img(**SMALL), DDNM(**SMALL))
every_pipeline = pytest.mark.parametrize("method", PIPELINES, ids=lambda m: m.name)


class Counted:
    def __init__(self, model):
        self.model, self.calls = model, []

    def predict_eps(self, x_t, t):
        self.calls.append(t.tolist())
        return self.model.predict_eps(x_t, t)

    @property
    def samples(self):
        return sum(map(len, self.calls))


def case(pair, z, blank=None, first=0, **settings):
    """The blank prompt's suspect is the base, which is what guidance then leads away from."""
    blank = blank or ModelPair(pair.base, pair.base, pair.schedule)
    names = tuple(f"picture {first + i}" for i in range(len(z)))
    images = pair.codec.decode(z).float() if z.shape[1] == 3 else torch.zeros(len(z), 3, 8, 8)
    return Case(pair, lambda: blank, images, z, names, torch.zeros(len(z)).long(), **settings)


def scores(answers):
    return {a.measure: a.scores for a in answers}


def pixels(images):
    return F.normalize(images.flatten(1) - 0.5)


# --- the sampler is diffusers' ---


@pytest.fixture(scope="module")
def tiny_sd():
    """A tiny pipeline with Stable Diffusion's DDIM configuration, and the same as suspect with and without prompt."""
    pipe = tiny.stable_diffusion()
    pipe.scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipe.set_progress_bar_config(disable=True)
    pairs = []
    for prompt in ("a b", ""):
        bound = condition_on_prompt(pipe, prompt)
        model = NetworkEpsModel(bound.predict, bound.schedule, bound.prediction)
        pairs.append(ModelPair(model, model, bound.schedule, codec=bound.codec, resolution=bound.resolution))
    return pipe, pairs


def noises_of(given, name, z):
    """The start noise of each picture's first image."""
    return torch.stack([torch.randn(z.shape[1:], generator=g) for g in given.generators(f"{name}/0")])


def generated(method, given):
    rows, generators = next(method._batches(given))
    with torch.no_grad():
        return method._generate(method._predictor(given), given.pair.schedule, given.z[rows], generators)


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_text2img_is_diffusers(tiny_sd, guidance):
    pipe, (prompted, blank) = tiny_sd
    z = torch.zeros(2, 4, 8, 8)
    given = case(prompted, z, blank)
    theirs = pipe(
        ["a b"] * 2,
        latents=noises_of(given, "text2img", z),
        guidance_scale=guidance,
        num_inference_steps=STEPS,
        output_type="latent",
    ).images
    ours = generated(Text2Img(images=1, inference_steps=STEPS, guidance=guidance), given)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("strength", [0.7, 1.0])
def test_img2img_is_diffusers(tiny_sd, strength, monkeypatch):
    pipe, (prompted, blank) = tiny_sd
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    given = case(prompted, z, blank)
    # diffusers draws its noise itself: it is handed ours
    where = "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img.randn_tensor"
    monkeypatch.setattr(where, lambda *a, **k: noises_of(given, "img2img", z))
    theirs = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    theirs.set_progress_bar_config(disable=True)
    theirs = theirs(
        ["a b"] * 2, image=z, strength=strength, guidance_scale=7.5, num_inference_steps=STEPS, output_type="latent"
    ).images
    ours = generated(Img2Img(images=1, inference_steps=STEPS, strength=strength), given)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())


def test_rows_are_diffusers_and_fit_any_schedule():
    schedule = stable_diffusion_schedule()
    theirs = DDIMScheduler(steps_offset=1)
    for steps in (1, 7, 50):
        theirs.set_timesteps(steps)
        assert leading_rows(schedule, steps) == theirs.timesteps.tolist()
    assert leading_rows(schedule, 50)[:2] == [981, 961] and leading_rows(schedule, 50)[-1] == 1
    short = Schedule(schedule.alpha[::20], schedule.sigma[::20], schedule.timesteps[::20])
    assert leading_rows(short, 50) == list(range(49, -1, -1))
    assert leading_rows(short, 10) == list(range(46, 0, -5))
    with refuses("benchmark.schedule_steps", most=50):
        leading_rows(short, 51)


def test_ddim_ends_at_row_0_or_clean():
    schedule = stable_diffusion_schedule()
    x = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    ends = [ddim(lambda x, row: 0 * x, schedule, x, [500, 1], clean=clean) for clean in (False, True)]
    torch.testing.assert_close(ends[0], x / schedule.alpha[500] * schedule.alpha[0])
    torch.testing.assert_close(ends[1], x / schedule.alpha[500])


def test_ddnm_by_hand():
    """The published recursion, written out for eps = k x at two steps."""
    schedule, method = stable_diffusion_schedule(), DDNM(images=1, inference_steps=2, guidance=1)
    k = 0.3

    class Linear:
        def predict_eps(self, x_t, t):
            return k * x_t

    z = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    given = case(ModelPair(Linear(), Linear(), schedule), z)
    (generator,) = given.generators("ddnm/0")
    x, new = (torch.randn(1, 1, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    a, s, mask = schedule.alpha, schedule.sigma, right_half_mask(8, 8)
    x_0 = mask * z + (1 - mask) * (x - s[501] * k * x) / a[501]
    x = a[1] * x_0 + s[1] * (0.85 * new + (1 - 0.85**2) ** 0.5 * k * x)
    x_0 = mask * z + (1 - mask) * (x - s[1] * k * x) / a[1]
    torch.testing.assert_close(generated(method, given), x_0)


# --- what comes back ---


@pytest.mark.parametrize(
    "method, images", list(zip(PIPELINES, (200, 40, 40), strict=True)), ids=["text2img", "img2img", "ddnm"]
)
def test_members_come_back_closer(method, images):
    """Without any hint a member is one of 72 known pictures, so that text2img needs many tries."""
    method = replace(method, images=images, guidance=1.0)
    for seed in range(2):
        pair, members, holdouts = world(seed)
        of = [scores(method(case(pair, z)))["removed_cosine"] for z in (members, holdouts)]
        auc = (of[0][:, None] > of[1]).double().mean()
        assert auc > 0.85
        assert of[0].median() > 0.9 > of[1].median()


def test_ddnm_leaves_the_kept_half_true():
    pair, members, _ = world(0)
    given = case(pair, members)
    made = generated(DDNM(images=1), given)
    assert torch.equal(made[..., :4], members[..., :4])
    assert not torch.allclose(made[..., 4:], members[..., 4:])


def test_measures_are_the_highest_similarities():
    pair, members, _ = world(0, channels=3)
    given = case(pair, members[:3], embedders={"pixels": pixels})
    for method in PIPELINES:
        found = scores(method(given))
        assert list(found) == ["latent_cosine", "removed_cosine", "pixels"]
        made = generated(method, given).unflatten(0, (method.images, 3))
        removed = 1 - (right_half_mask(8, 8) if method.name == "ddnm" else block_mask(8, 8, 4))
        for i, z in enumerate(given.z):
            flat = [(m * made[:, i]).flatten(1) @ (m * z).flatten() for m in (1, removed)]
            norms = [(m * made[:, i]).flatten(1).norm(dim=1) * (m * z).norm() for m in (1, removed)]
            torch.testing.assert_close(found["latent_cosine"][i], (flat[0] / norms[0]).max())
            torch.testing.assert_close(found["removed_cosine"][i], (flat[1] / norms[1]).max())
            seen = pixels(pair.codec.decode(made[:, i])) @ pixels(given.images[i : i + 1])[0].double()
            torch.testing.assert_close(found["pixels"][i], seen.max(), rtol=1e-5, atol=1e-6)


# --- what every method promises ---


@every_pipeline
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_evaluations_are_counted_right(method, guidance):
    method = replace(method, guidance=guidance, images=30)
    pair, members, _ = world(0)
    base, tuned, blank = Counted(pair.base), Counted(pair.suspect), Counted(pair.base)
    given = case(ModelPair(base, tuned, pair.schedule), members[:3], ModelPair(base, blank, pair.schedule))
    asked = []
    given = replace(given, blank=lambda given=given: asked.append(1) or given.blank())
    answers = method(given)
    assert base.samples == 0
    assert tuned.samples + blank.samples == 3 * method.evaluations
    assert blank.samples == (0 if guidance == 1 else tuned.samples) and bool(asked) == (guidance != 1)
    assert {a.evaluations for a in answers} == {method.evaluations}
    assert {len(t) for t in tuned.calls} == {generation.BATCH, 3 * 30 - generation.BATCH}


def test_evaluations_of_the_paper():
    assert [m().evaluations for m in (Text2Img, Img2Img, DDNM)] == [10_000, 7_000, 10_000]
    assert Img2Img(guidance=1.0).evaluations == 3_500
    assert [m.name for m in PIPELINES] == ["text2img", "img2img", "ddnm"]


@every_pipeline
def test_a_picture_does_not_depend_on_its_batch(method, monkeypatch):
    pair, _, holdouts = world(1)
    together = scores(method(case(pair, holdouts[:4])))
    monkeypatch.setattr(generation, "BATCH", 2)
    alone = [scores(method(case(pair, holdouts[i : i + 1], first=i))) for i in range(4)]
    for measure, found in together.items():
        assert found.shape == (4,) and not found.requires_grad
        torch.testing.assert_close(found, torch.cat([a[measure] for a in alone]), rtol=1e-9, atol=1e-9)


@every_pipeline
def test_same_seed_same_score_and_no_global_randomness(method):
    pair, members, _ = world(0)
    z = members.clone()
    before = torch.get_rng_state()
    first = scores(method(case(pair, z)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1234)
    again, other = scores(method(case(pair, z))), scores(method(case(pair, z, seed=1)))
    torch.set_rng_state(before)
    assert torch.equal(z, members)
    assert all(torch.equal(first[m], again[m]) and not torch.equal(first[m], other[m]) for m in first)


@every_pipeline
def test_more_images_never_lower_the_maximum(method):
    pair, _, holdouts = world(2)
    few, many = (scores(replace(method, images=n)(case(pair, holdouts))) for n in (2, 6))
    for measure in few:
        assert (many[measure] >= few[measure] - 1e-12).all() and (many[measure] > few[measure]).any()


def test_a_strength_that_runs_nothing_is_refused():
    for strength in (0.0, 0.01, 1.1):
        with refuses("benchmark.strength"):
            Img2Img(strength=strength)
    assert row_of(stable_diffusion_schedule(), leading_rows(stable_diffusion_schedule(), 50)[-35]) == 681
