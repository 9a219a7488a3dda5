"""Names and rows of families' own code, at the published sizes, against diffusers' conversion of whole checkpoints."""

import re

import diffusers.loaders.single_file_utils as conversion
import pytest
import torch

from cgidm.families.changes.targets import find_targets
from tests.support.flow_networks import PUBLISHED, published_transformer
from tests.support.original_layers import OF_CLASS, original_layers

CONVERT = {  # its names for the functions
    "FluxTransformer2DModel": conversion.convert_flux_transformer_checkpoint_to_diffusers,
    "ChromaTransformer2DModel": conversion.convert_chroma_transformer_checkpoint_to_diffusers,
    "Flux2Transformer2DModel": conversion.convert_flux2_transformer_checkpoint_to_diffusers,
    "ZImageTransformer2DModel": conversion.convert_z_image_transformer_checkpoint_to_diffusers,
    "Lumina2Transformer2DModel": conversion.convert_lumina2_to_diffusers,
    "Krea2Transformer2DModel": conversion.convert_krea2_transformer_checkpoint_to_diffusers,
    "SD3Transformer2DModel": conversion.convert_sd3_transformer_checkpoint_to_diffusers,
}
NORMS = {  # parameters that its functions ask for beside linear layers
    r"double_blocks\.\d+\.": [f"{s}_attn.norm.{p}_norm.scale" for s in ("img", "txt") for p in ("query", "key")],
    r"single_blocks\.\d+\.": ["norm.query_norm.scale", "norm.key_norm.scale"],
    r"distilled_guidance_layer\.": [f"norms.{i}.scale" for i in range(5)],
    r"joint_blocks\.\d+\.": [f"{b}.attn.ln_{p}.weight" for b in ("x_block", "context_block") for p in "qk"],
}
NAMES = [name for name, told in PUBLISHED.items() if told["class"] in OF_CLASS]


def numbered(layers):
    """A checkpoint of one column a weight; each row has a number of its own."""
    state, at = {}, 0
    for name, (out, _) in layers.items():
        state[f"{name}.weight"] = torch.arange(at, at + out, dtype=torch.float64)[:, None]
        state[f"{name}.bias"] = torch.zeros(out)
        at += out
    for name in list(layers):
        for pattern, more in NORMS.items():
            if found := re.match(pattern, name):
                state |= {found[0] + norm: torch.zeros(1) for norm in more}
    if any(name.startswith("joint_blocks") for name in layers):
        state |= {"pos_embed": torch.zeros(1), "x_embedder.proj.weight": torch.zeros(1, 1, 1, 1)}
        state |= {"x_embedder.proj.bias": torch.zeros(1)}
        duals = {name.split(".attn2")[0] for name in layers if ".attn2." in name}
        state |= {f"{name}.attn2.ln_{p}.weight": torch.zeros(1) for name in duals for p in "qk"}
    return state


@pytest.mark.parametrize("name", NAMES)
def test_each_row_of_each_layer_is_where_diffusers_has_it(name):
    layers, network = original_layers(name), published_transformer(name)
    state = numbered(layers)
    meant = CONVERT[PUBLISHED[name]["class"]](dict(state))
    targets = find_targets(network, "transformer")
    changed = {}
    for layer, (out, into) in layers.items():
        rows = state[f"{layer}.weight"][:, 0]
        for region in targets[layer]:
            weight = network.get_submodule(region.module).weight
            a, b = region.theirs or (0, out)
            c, d = region.ours or (0, weight.shape[0])
            assert weight.shape[1] == into and d - c == b - a
            changed.setdefault(region.module, torch.full((weight.shape[0],), torch.nan, dtype=torch.float64))[c:d] = (
                rows[a:b]
            )
        assert targets[layer] == targets[layer.replace(".", "_")]
    linear = {n for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)}
    assert changed.keys() == linear, "every linear layer of the network has one of the original's"
    for module, rows in changed.items():
        assert torch.equal(rows, meant[f"{module}.weight"][:, 0]), module
