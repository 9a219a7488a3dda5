"""Several prompts that the suspect may have been trained with: each timestep is denoised under one of them."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cgidm.cli import main
from cgidm.families import load_pair
from cgidm.families.conditioning import condition_on_prompt, condition_on_prompts, tell_frame
from cgidm.framing.frame import CentreSquare
from cgidm.intake.inspect import inspect_checkpoint, list_prompt_remarks
from cgidm.intake.layout import open_checkpoint
from cgidm.judging.mirror_test import MIRROR_SEED
from cgidm.method.mirror import sample_mirrored
from tests.support import tiny, tiny_families
from tests.support.adapter_files import KOHYA, SD1, adapter
from tests.support.adapter_methods import lora
from tests.support.errors import refuses

PIPELINES = {
    "SD 1.x": tiny.stable_diffusion,
    "SDXL": tiny_families.stable_diffusion_xl,
    "SD 3": tiny_families.stable_diffusion_3,
    "AltDiffusion": tiny_families.alt_diffusion,
}
PROMPTS = ("a b", "", "b a")


@pytest.fixture(params=PIPELINES, scope="module")
def pipeline(request):
    made = PIPELINES[request.param]()
    for part in made.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return made


def rows(model, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, model.network.config.in_channels, 8, 8, generator=generator)
    return x, model.schedule.timesteps[torch.randint(len(model.schedule), (n,), generator=generator)]


@torch.no_grad()
def test_each_row_is_denoised_under_the_prompt_of_its_timestep(pipeline):
    alone = [condition_on_prompt(pipeline, prompt) for prompt in PROMPTS]
    dealt = condition_on_prompts(pipeline, PROMPTS)
    x, t = rows(dealt, 12)
    found = dealt.predict(x, t)
    dealt_to = dealt.deal_prompts(t)
    expected = torch.stack([alone[dealt_to[i]].predict(x[i : i + 1], t[i : i + 1])[0] for i in range(12)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, alone[0].predict(x, t), atol=1e-4), "the prompts must make a difference here"
    assert set(dealt_to.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("count", [2, 3, 4, 5, 12])
@pytest.mark.parametrize("draws", [24, 48])
def test_every_prompt_is_met_as_often_by_the_draws_of_the_mirror_test(count, draws):
    """Its times are the same in every run: a deal that left it to chance would slight the same prompt each time."""
    model = condition_on_prompts(tiny.stable_diffusion(), [f"{i}" for i in range(count)])
    t, _ = sample_mirrored(model.schedule, torch.zeros(1, 4, 8, 8), draws, MIRROR_SEED)
    met = torch.bincount(model.deal_prompts(model.schedule.timesteps[t]), minlength=count)
    most_apart = 0 if 12 % count == 0 else draws // 12
    assert met.max() - met.min() <= most_apart and met.min() > 0


@torch.no_grad()
def test_a_network_of_two_models_gives_both_halves_their_own_prompts(pipeline):
    """The first half of the rows is the base's; rows of one timestep meet one prompt in both."""
    base, suspect = condition_on_prompts(pipeline, PROMPTS), condition_on_prompts(pipeline, PROMPTS[::-1])
    pairs = zip(base.conditions, suspect.conditions, strict=True)
    joint = type(base)(**{**vars(base), "conditions": tuple(torch.cat(both) for both in pairs)})
    x, t = rows(base, 6)
    found = joint.predict(torch.cat([x, x]), torch.cat([t, t]))
    torch.testing.assert_close(found, torch.cat([base.predict(x, t), suspect.predict(x, t)]), rtol=1e-4, atol=1e-5)


def test_one_prompt_is_as_before(pipeline):
    alone, dealt = condition_on_prompt(pipeline, "a b"), condition_on_prompts(pipeline, ["a b"])
    x, t = rows(alone, 4)
    assert dealt.prompts == 1 and torch.equal(alone.predict(x, t), dealt.predict(x, t))


def test_sizes_are_told_whatever_the_prompt():
    model = condition_on_prompts(tiny_families.stable_diffusion_xl(), PROMPTS)
    told = tell_frame(model, CentreSquare(resolution=64).frame(200, 310))
    assert told.conditions[told.sizes_at].tolist() == [[64, 64, 0, 0, 64, 64]] * 3


# --- a run with several prompts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base, and a LoRA whose notes name two prompts and dropped captions."""
    place = tmp_path_factory.mktemp("prompts")
    tiny.stable_diffusion().save_pretrained(place / "base")
    notes = {
        "ss_tag_frequency": json.dumps({"10_sks style": {"1girl": 10, "tree": 2}}),
        "ss_num_train_images": "10",
        "ss_caption_dropout_rate": "0.1",
    }
    adapter(KOHYA, (lora, SD1), file="suspect.safetensors", header=notes)(place, tiny.stable_diffusion())
    return place / "base", place / "suspect.safetensors"


def test_notes_name_the_prompts_that_may_have_been_the_training_s(models):
    found = inspect_checkpoint(open_checkpoint(str(models[1])))
    assert found["prompts"] == ["1girl", "sks style", ""] and found["prompt"] == "1girl"


def test_a_prompt_that_holds_a_noted_one_is_not_remarked_on(models):
    noted, silent = (open_checkpoint(str(path)) for path in (models[1], models[0]))
    assert list_prompt_remarks(noted, ["a tree, sks style"]) == list_prompt_remarks(silent, [""]) == ()
    assert list_prompt_remarks(noted, ["", "1girl"]) == ()


def remarks(record):
    """Those on the run's prompts."""
    return {remark["code"] for remark in record["models"]["remarks"]} & {
        "intake.prompt_left_out",
        "intake.other_prompt",
    }


def test_a_run_with_several_prompts_is_recorded_and_repeated(models, tmp_path, few_draws, capsys):
    base, suspect = map(str, models)
    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "a.png")
    out, run = str(tmp_path / "out"), ["authenticate", str(tmp_path / "a.png"), "--base", base, "--suspect", suspect]
    run += ["--preset", "fast", "--steps", "1", "--out", out]
    assert main(run) == 0
    assert "--prompt 1girl --prompt 'sks style' --prompt ''" in capsys.readouterr().out
    blank = json.loads((tmp_path / "out" / "result.json").read_text())
    assert remarks(blank) == {"intake.prompt_left_out"}
    assert main([*run, "--prompt", "a b", "--prompt", "b a", "--prompt", ""]) == 0
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["models"]["prompt"] == "a b" and record["models"]["other_prompts"] == ["b a", ""]
    assert remarks(record) == {"intake.other_prompt"}
    assert record["pictures"][0]["scores"] != blank["pictures"][0]["scores"]
    report = (tmp_path / "out" / "report.html").read_text()
    assert "a b" in report and "b a" in report
    assert main(["verify", out, "--rerun"]) == 0


def test_several_prompts_do_not_go_with_a_textual_inversion(models):
    word = models[1].with_name("word.safetensors")
    save_file({"<w>": torch.randn(1, 8)}, word)
    with refuses("families.prompts_with_embedding", count=2):
        load_pair(str(models[0]), str(word), ["a <w>", "<w>"])
