"""Pipelines in one file, under the names of Stability's own code."""

import re

import torch

from cgidm.families.changes.targets import sgm_names

NORMS = {"norm1": "in_layers.0", "norm2": "out_layers.0"}
OPEN_CLIP = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def unet_names(unet):
    """The UNet under the names of Stability's own code."""
    ours = {o: theirs for theirs, o in sgm_names(unet).items()}
    blocks = {o.rsplit(".", 1)[0]: t.rsplit(".", 2)[0] for o, t in ours.items() if o.endswith(".conv1")}
    ends = {o: t for o, t in ours.items() if o.endswith(".proj_in")}
    blocks |= {o.removesuffix(".proj_in"): t.removesuffix(".proj_in") for o, t in ends.items()}
    state = {}
    for name, weight in unet.state_dict().items():
        module, _, leaf = name.rpartition(".")
        block = next((b for b in blocks if module.startswith(f"{b}.")), "")
        rest = module.removeprefix(f"{block}.")
        theirs = "out.0" if module == "conv_norm_out" else ours.get(module)
        theirs = theirs or f"{blocks[block]}.{NORMS.get(rest, rest)}"
        state[f"model.diffusion_model.{theirs}.{leaf}"] = weight.clone()
    return state


def clip_names(encoder, prefix):
    """A text encoder as transformers names it; SD 1 and SDXL's first."""
    return {f"{prefix}.transformer.text_model.{k}": v.clone() for k, v in encoder.state_dict().items()}


def open_clip_names(encoder, prefix, more_layers=0):
    """A text encoder as open_clip names it: q, k and v in one tensor, the projection turned, perhaps unused layers."""
    weights = {k.removeprefix("text_model."): v for k, v in encoder.state_dict().items()}
    width = encoder.config.hidden_size
    projection = weights.get("text_projection.weight", torch.randn(width, width))
    state = {
        "token_embedding.weight": weights["embeddings.token_embedding.weight"],
        "positional_embedding": weights["embeddings.position_embedding.weight"],
        "ln_final.weight": weights["final_layer_norm.weight"],
        "ln_final.bias": weights["final_layer_norm.bias"],
        "text_projection": projection.T,
        "logit_scale": torch.tensor(4.6),
    }
    layers = encoder.config.num_hidden_layers
    for i in range(layers + more_layers):
        start = f"encoder.layers.{min(i, layers - 1)}."
        layer = {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}
        if i >= layers:
            layer = {k: torch.randn_like(v) for k, v in layer.items()}
        block = f"transformer.resblocks.{i}"
        for kind in ("weight", "bias"):
            joint = torch.cat([layer[f"self_attn.{part}_proj.{kind}"] for part in "qkv"])
            state[f"{block}.attn.in_proj_{kind}"] = joint
            for theirs, ours in OPEN_CLIP.items():
                state[f"{block}.{theirs}.{kind}"] = layer[f"{ours}.{kind}"]
    return {f"{prefix}.model.{k}": v.clone().contiguous() for k, v in state.items()}


ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def vae_names(vae):
    """An autoencoder under the names of Stability's own code; its attention is made of 1x1 convolutions there."""
    levels, state = len(vae.config.block_out_channels), {}
    for name, weight in vae.state_dict().items():
        theirs = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        theirs = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", theirs)
        theirs = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", theirs)
        theirs = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", theirs)
        theirs = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", theirs)
        theirs = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", theirs)
        if "mid_block.attentions.0" in theirs:
            head, _, rest = theirs.partition("mid_block.attentions.0.")
            module, _, leaf = rest.rpartition(".")
            theirs = f"{head}mid.attn_1.{ATTENTION[module]}.{leaf}"
            weight = weight[..., None, None] if weight.ndim == 2 else weight
        state[f"first_stage_model.{theirs}"] = weight.clone()
    return state


def single_file(pipeline):
    """A whole pipeline as its family's own code saves it, but for the autoencoder, of which there is one number."""
    state = unet_names(pipeline.unet)
    if hasattr(pipeline, "text_encoder_2"):
        state |= clip_names(pipeline.text_encoder, "conditioner.embedders.0")
        state |= open_clip_names(pipeline.text_encoder_2, "conditioner.embedders.1")
        state["denoiser.sigmas"] = torch.zeros(3)
    elif pipeline.unet.config.use_linear_projection:
        state |= open_clip_names(pipeline.text_encoder, "cond_stage_model", more_layers=1)
    else:
        state |= clip_names(pipeline.text_encoder, "cond_stage_model")
    return {**state, "betas": torch.zeros(3), "first_stage_model.x": torch.zeros(1), "model_ema.y": torch.zeros(1)}


def nai_names(state):
    """NovelAI's names of SD 1's text encoder, before transformers put `text_model.` before them."""
    return {
        k.replace("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer."): v
        for k, v in state.items()
    }
