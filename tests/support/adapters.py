"""Adapters for the tiny pipeline, in kohya's dialect, and whether a pair computes what they mean."""

from functools import cache

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from cgidm import ModelPair, NetworkEpsModel
from cgidm.families import load_pair
from cgidm.families.conditioning import condition_on_prompt
from cgidm.families.pipelines import load_pipeline
from cgidm.intake.header import TensorInfo
from cgidm.intake.layout import open_checkpoint

RANK, ALPHA = 2, 3.0
ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
UNET = (ATTENTION, "down_blocks.1.attentions.0.proj_in", "mid_block.resnets.0.conv1", "conv_out")
TEXT = "encoder.layers.0.self_attn.q_proj"


def weights(base, rank=RANK, scale=ALPHA / RANK):
    """Random down and up for each module, and the pipeline that has `scale * up @ down` added to its weights."""
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, requires_safety_checker=False)
    g, pairs = torch.Generator().manual_seed(0), {}
    for component, names in (("unet", UNET), ("text_encoder", (TEXT,))):
        for name in names:
            weight = getattr(pipeline, component).get_submodule(name).weight
            down = 0.3 * torch.randn(rank, *weight.shape[1:], generator=g)
            up = 0.3 * torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=g)
            pairs[component, name] = down, up
            with torch.no_grad():
                weight += scale * torch.einsum("or...,ri...->oi...", up, down)
    return pairs, pipeline


def kohya(pairs, alpha=ALPHA):
    prefix = {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}
    state = {}
    for (component, name), (down, up) in pairs.items():
        key = prefix[component] + name.replace(".", "_")
        state |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(alpha)}
    return state


def infos(tensors):
    return {k: TensorInfo("F32", tuple(v.shape)) for k, v in tensors.items()}


def written(tmp_path, state, metadata=None, name="suspect.safetensors"):
    path = tmp_path / name
    save_file({k: v.contiguous() for k, v in state.items()}, path, metadata)
    return path


def answers(pair):
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        t = torch.tensor([10, 700])
        return pair.base.predict_eps(x, t), pair.suspect.predict_eps(x, t)


def model_of(pipeline, prompt="a b"):
    """A whole pipeline's network as a pair would ask it."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)  # frozen as in use: it shows in the last bits of a product
    bound = condition_on_prompt(pipeline, prompt)
    return NetworkEpsModel(bound.predict, bound.schedule, bound.prediction)


@cache
def answer_alone(base):
    """What the base answers that no adapter was ever near."""
    model = model_of(load_pipeline(open_checkpoint(base), "base", torch.float32))
    return answers(ModelPair(model, model, model.schedule))[0]


def assert_exact(base, suspect, merged, **options):
    """The adapter on: the merged network to 1e-5. Off, before and after: the base bit for bit."""
    meant = model_of(merged)
    wanted = answers(ModelPair(meant, meant, meant.schedule))[0]
    pair = load_pair(str(base), str(suspect), "a b", **options)
    off, on = answers(pair)
    torch.testing.assert_close(on, wanted, atol=1e-5, rtol=0)
    assert (on - off).abs().max() > 1e-3 and len(pair.networks) == 1
    alone = answer_alone(str(base))
    assert torch.equal(off, alone) and torch.equal(answers(pair)[0], alone)
    assert not any(p.requires_grad for p in pair.networks[0].parameters())
    return pair
