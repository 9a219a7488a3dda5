"""Every family of rectified flow or v-prediction, a tiny random network of its own class: loaded and computed."""

import copy
import shutil

import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from cgidm import RecoveryConfig, make_partial
from cgidm.families import load_pair
from cgidm.families.conditioning import condition_on_prompt, condition_on_prompts
from cgidm.families.memory import UNCOUNTABLE, count_peak, picture_bytes, row_bytes
from cgidm.families.pipelines import load_pipeline
from cgidm.intake.layout import open_checkpoint
from cgidm.method.mirror import mirror_scores
from cgidm.method.models import ModelPair, NetworkEpsModel
from cgidm.method.objective import contrast, predict
from cgidm.method.run_state import continue_recovery, load_states, new_state, save_states
from cgidm.method.scores import loss_contrast
from tests.support import tiny
from tests.support.tiny_families import V_PREDICTION
from tests.support.tiny_flow import FLOW, SIDE
from tests.support.worlds import generators

FAMILIES = {name: make for name, (make, _) in FLOW.items()} | V_PREDICTION
VALUE_DEPENDENT = ("lumina-2",)  # its network reads lengths off a mask, so a plan assumes enough memory
ROWS, COLUMNS = 8, 12  # cells of a picture that is not square


def make(family, seed=0):
    pipeline = FAMILIES[family]()
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
            for name, p in part.named_parameters():  # gates and last layers that begin at zero would hide the rest
                if not p.any():
                    p.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name) + seed))
    return pipeline


def latents(model, rows=2, seed=5, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, model.channels, ROWS, COLUMNS, generator=g, dtype=dtype)


def pair_of(base, suspect, **options):
    models = [NetworkEpsModel(m.predict, m.schedule, m.prediction) for m in (base, suspect)]
    return ModelPair(*models, schedule=base.schedule, codec=base.codec, resolution=base.resolution, **options)


def tuned(family):
    pipeline = make(family)
    tiny.perturbed(network_of(pipeline), by=0.1)
    return pipeline


def network_of(pipeline):
    return getattr(pipeline, component_of(pipeline))


def component_of(pipeline):
    return "transformer" if hasattr(pipeline, "transformer") else "unet"


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of each family's base and of a fine-tune, written when first wanted."""
    folder, done = tmp_path_factory.mktemp("saved"), set()

    def of(family):
        if family not in done:
            make(family).save_pretrained(folder / family / "base")
            tuned(family).save_pretrained(folder / family / "full")
            done.add(family)
        return folder / family

    return of


def answers(pair):
    """Of base and suspect."""
    channels = pair.codec.encode(torch.zeros(1, 3, SIDE, SIDE)).shape[1]
    x = torch.randn(2, channels, ROWS, COLUMNS, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return [predict(m, pair.schedule, x, torch.tensor([100, 700])) for m in (pair.base, pair.suspect)]


@pytest.mark.parametrize("family", FLOW)
@pytest.mark.parametrize("sigma", [0.95, 0.5])
def test_a_network_is_asked_as_its_own_pipeline_asks_it(family, sigma):
    """Its answer to the first step of its own pipeline: packing, places, text, time and guidance agree."""
    pipeline = make(family)
    model = condition_on_prompt(pipeline, "a b")
    x, seen = latents(model, rows=1), {}

    def record(module, args, kwargs, output):
        seen.setdefault("inputs", (args, kwargs))
        seen.setdefault("output", output[0] if isinstance(output, tuple) else output.sample)

    with torch.no_grad():
        hook = pipeline.transformer.register_forward_hook(record, with_kwargs=True)
        size = {"height": ROWS * model.downscale, "width": COLUMNS * model.downscale}
        options = {"num_inference_steps": 1, "sigmas": [sigma], "output_type": "latent", "return_dict": False}
        given = dict(FLOW[family][1])
        start = given.pop("start", lambda p, x: x)(pipeline, x)
        if family.startswith("flux-") and hasattr(pipeline, "tokenizer_2"):
            given["max_sequence_length"] = pipeline.tokenizer_2.model_max_length  # small ones say what they take
        pipeline.set_progress_bar_config(disable=True)
        pipeline(prompt="a b", latents=start, **size, **options, **given)
        expected = seen.pop("output")
        used = pipeline.scheduler.sigmas[:1]
        seen.clear()
        model.predict(x, used * pipeline.scheduler.config.num_train_timesteps)
        hook.remove()
        found = seen["output"]
    expected, found = (torch.stack(list(v)) if isinstance(v, list) else v for v in (expected, found))
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)


def test_a_base_and_its_fine_tune_answer_as_in_memory(saved, family):
    folder = saved(family)
    pair = load_pair(str(folder / "base"), str(folder / "full"), "a b")
    assert pair.resolution == SIDE and pair.schedule.is_flow == (family in FLOW)
    assert pair.base.prediction == ("flow" if family in FLOW else "v")
    models = [condition_on_prompt(p, "a b") for p in (make(family), tuned(family))]
    expected = answers(pair_of(*models))
    for found, own in zip(answers(pair), expected, strict=True):
        torch.testing.assert_close(found, own, atol=1e-5, rtol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def test_the_files_that_are_fetched_are_all_that_it_reads(saved, family, tmp_path):
    """A repository of the Hub is fetched in part: chat templates belong to it, pictures of its page do not."""
    base = open_checkpoint(str(saved(family) / "base"))
    for file in (*base.weights, *base.extras):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(base.listing.fetch([file]) / file, tmp_path / file)
    copied = open_checkpoint(str(tmp_path))
    both = [load_pipeline(checkpoint, "base", torch.float32) for checkpoint in (copied, base)]
    found, expected = (condition_on_prompt(pipeline, "a b").conditions for pipeline in both)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_lora_is_its_merged_weights_and_leaves_the_base_alone(saved, family, tmp_path):
    folder, pipeline = saved(family), make(family)
    network, component = network_of(pipeline), component_of(pipeline)
    network.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_v", "to_out.0"]))
    for i, (name, p) in enumerate(network.named_parameters()):
        if "lora_" in name:
            torch.nn.init.normal_(p, std=0.3, generator=torch.Generator().manual_seed(i))
    state = {f"{component}.{k}": v for k, v in get_peft_model_state_dict(network).items()}
    state |= {k.replace("lora_A.weight", "alpha"): torch.tensor(4.0) for k in state if "lora_A" in k}
    save_file(state, tmp_path / "lora.safetensors")
    pair = load_pair(str(folder / "base"), str(tmp_path / "lora.safetensors"), "a b")
    alone = load_pair(str(folder / "base"), str(folder / "full"), "a b")
    assert torch.equal(answers(pair)[0], answers(alone)[0]), "with the adapter off the base is the base, bit for bit"
    merged = copy.deepcopy(pipeline)
    network_of(merged).fuse_lora()
    expected = condition_on_prompt(merged, "a b")
    torch.testing.assert_close(answers(pair)[1], answers(pair_of(expected, expected))[1], atol=1e-5, rtol=1e-5)
    assert (answers(pair)[1] - answers(pair)[0]).abs().max() > 1e-3 and len(pair.networks) == 1


def test_the_contrasts_gradient_is_a_finite_difference(family, monkeypatch):
    models = []
    for pipeline in (make(family), tuned(family)):
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.double()
        models.append(condition_on_prompt(pipeline, "a b"))
    pair = pair_of(*models)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # norms and turns are in single precision else,
    monkeypatch.setattr(torch, "float32", torch.float64)  # whose rounding a finite difference would see
    z, eps = (latents(models[0], 1, seed, torch.float64) for seed in (1, 2))
    direction, t = latents(models[0], 1, 3, torch.float64), torch.tensor([400])

    def at(h):
        return contrast(pair, z + h * direction, t, eps).sum()

    z.requires_grad_()
    (gradient,) = torch.autograd.grad(at(0.0), z)
    slope = (gradient * direction).sum()
    z = z.detach()
    h = 1e-3
    with torch.no_grad():  # of fourth order
        found = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert abs(found - slope) <= 1e-5 * abs(slope) and slope.abs() > 1e-3


def test_a_pictures_result_does_not_depend_on_its_batch(family):
    base, suspect = (condition_on_prompt(p, "a b") for p in (make(family), tuned(family)))
    pair = pair_of(base, suspect)
    z = latents(base, 3)
    with torch.no_grad():
        together = loss_contrast(pair, z, 2, generators(3))
        alone = torch.cat([loss_contrast(pair, z[i : i + 1], 2, generators(3)[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert alone.unique().numel() == 3


def test_a_picture_and_its_mirror_image_have_opposite_scores(family):
    pair = pair_of(*(condition_on_prompt(p, "a b") for p in (make(family), tuned(family))))
    image = torch.rand(1, 3, SIDE, SIDE // 2 + SIDE, generator=torch.Generator().manual_seed(4))
    image = image * torch.linspace(0, 1, image.shape[-1])  # darker on the left
    (own,), (mirrored,) = (mirror_scores(pair, x, 4, 0) for x in (image, image.flip(-1)))
    assert own.value == pytest.approx(-mirrored.value, abs=1e-5) and own.value != 0


def test_a_recovery_goes_on_from_a_file_to_the_last_bit(family, tmp_path):
    base, suspect = (condition_on_prompt(p, "a b") for p in (make(family), tuned(family)))
    pair, config = pair_of(base, suspect), RecoveryConfig(steps=3, draws=1)
    images = torch.rand(1, 3, SIDE, SIDE // 2 + SIDE, generator=torch.Generator().manual_seed(4))
    z = pair.codec.encode(images)
    assert z.shape[-2:] == (SIDE // base.downscale, 3 * SIDE // 2 // base.downscale)
    partial = make_partial("block4", pair.codec, images, z)

    def state():
        return new_state(z, partial, generators(1))

    whole, stopped = state(), state()
    for _ in continue_recovery(pair, whole, config):
        pass
    for _ in continue_recovery(pair, stopped, config, steps=1):
        pass
    save_states(tmp_path / "state", [stopped])
    (resumed,) = load_states(tmp_path / "state")
    for _ in continue_recovery(pair, resumed, config):
        pass
    assert torch.equal(whole.delta, resumed.delta) and torch.equal(whole.contrast, resumed.contrast)
    assert whole.delta.abs().max() > 0 and whole.gradient_ratio.min() > 0
    assert pair.codec.decode(resumed.z_hat).shape == images.shape


def test_the_memory_of_a_row_and_of_a_picture_can_be_counted(family):
    model = condition_on_prompt(make(family), "a b")
    if family in VALUE_DEPENDENT:
        with pytest.raises(UNCOUNTABLE):
            row_bytes(model, torch.float32, checkpointing=False)
        return
    row = row_bytes(model, torch.float32, checkpointing=False)
    assert 0 < row_bytes(model, torch.float32, checkpointing=True) < row
    assert row_bytes(model, torch.float32, checkpointing=False, resolution=2 * SIDE) > row
    assert picture_bytes(model.codec, SIDE, tiling=False) > 0
    assert count_peak(lambda: model.codec.decode(torch.zeros(1, model.channels, 8, 8))) > 0
    assert model.predict(latents(model), torch.tensor([100.0, 700.0])).isfinite().all(), "the count leaves no trace"


def test_each_timestep_is_denoised_under_one_of_several_prompts(family):
    pipeline, prompts = make(family), ("a b", "c c c")
    both, alone = condition_on_prompts(pipeline, prompts), [condition_on_prompt(pipeline, p) for p in prompts]
    x, t = latents(both, 2), both.schedule.timesteps[[550, 450]]  # either side of a border of `DEALT_PARTS`
    with torch.no_grad():
        found = both.predict(x, t)
        expected = [m.predict(x[i : i + 1], t[i : i + 1]) for i, m in enumerate(alone)]
        other = alone[1].predict(x[:1], t[:1])
    torch.testing.assert_close(found, torch.cat(expected), atol=2e-5, rtol=1e-4)
    assert (other - expected[0]).abs().max() > 1e-4


def test_a_file_in_half_precision_is_read(saved, family):
    folder = saved(family)
    pair = load_pair(str(folder / "base"), str(folder / "full"), "a b", dtype=torch.bfloat16)
    whole = load_pair(str(folder / "base"), str(folder / "full"), "a b")
    for half, full in zip(answers(pair), answers(whole), strict=True):
        assert half.dtype == torch.float32 and (half - full).norm() < 0.2 * full.norm()
    file = next((folder / "base" / component_of(make(family))).glob("*.safetensors"))
    assert all(v.dtype == torch.float32 for v in load_file(file).values())
