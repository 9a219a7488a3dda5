"""Several prompts that the suspect may have been trained with: each timestep is denoised under one of them."""

import pytest
import torch

from cgidm.families.conditioning import condition_on_prompt, condition_on_prompts, tell_frame
from cgidm.framing.frame import CentreSquare
from tests.support import tiny, tiny_families

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
    expected = torch.stack([alone[int(t[i]) % 3].predict(x[i : i + 1], t[i : i + 1])[0] for i in range(12)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, alone[0].predict(x, t), atol=1e-4), "the prompts must make a difference here"
    assert len({int(time) % 3 for time in t}) == 3


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
