"""The linear layers of families' own code, by their own names, with their shapes: (out, in). Written from that code."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.support.flow_networks import PUBLISHED

Layers = dict[str, tuple[int, int]]  # module -> (out, in)


def stack(name: str, count: int, block: Mapping[str, tuple[int, int]]) -> Layers:
    """The layers of a stack of blocks."""
    return {f"{name}.{i}.{layer}": shape for i in range(count) for layer, shape in block.items()}


def mlp(name: str, width: int, into: int) -> Layers:
    """A BFL embedder."""
    return {f"{name}.in_layer": (width, into), f"{name}.out_layer": (width, width)}


def bfl_double(width: int, hidden: int, gated: int = 1, modulated: bool = True) -> Layers:
    """A block of two streams: https://github.com/black-forest-labs/flux, `DoubleStreamBlock`."""
    found = {}
    for stream in ("img", "txt"):
        found |= {f"{stream}_mod.lin": (6 * width, width)} if modulated else {}
        found |= {
            f"{stream}_attn.qkv": (3 * width, width),
            f"{stream}_attn.proj": (width, width),
            f"{stream}_mlp.0": (gated * hidden, width),
            f"{stream}_mlp.2": (width, hidden),
        }
    return found


def bfl_single(width: int, hidden: int, gated: int = 1, modulated: bool = True) -> Layers:
    """A block of one stream: `SingleStreamBlock`."""
    found = {"linear1": (3 * width + gated * hidden, width), "linear2": (width, width + hidden)}
    return found | ({"modulation.lin": (3 * width, width)} if modulated else {})


def bfl(c: Mapping[str, Any], *, modulated: bool, gated: int, ratio: int) -> tuple[int, Layers]:
    width = c["num_attention_heads"] * c["attention_head_dim"]
    found = stack("double_blocks", c["num_layers"], bfl_double(width, ratio * width, gated, modulated))
    found |= stack("single_blocks", c["num_single_layers"], bfl_single(width, ratio * width, gated, modulated))
    found |= {
        "img_in": (width, c["in_channels"]),
        "txt_in": (width, c["joint_attention_dim"]),
        "final_layer.linear": (c["in_channels"], width),
    }
    return width, found


def flux(c: Mapping[str, Any]) -> Layers:
    """https://github.com/black-forest-labs/flux, `src/flux/model.py`."""
    width, found = bfl(c, modulated=True, gated=1, ratio=4)
    found |= mlp("time_in", width, 256) | mlp("vector_in", width, c["pooled_projection_dim"])
    found |= mlp("guidance_in", width, 256) if c["guidance_embeds"] else {}
    return found | {"final_layer.adaLN_modulation.1": (2 * width, width)}


def chroma(c: Mapping[str, Any]) -> Layers:
    """https://github.com/lodestone-rock/flow, `Chroma`: an approximator instead of all modulations."""
    width, found = bfl(c, modulated=False, gated=1, ratio=4)
    hidden = c["approximator_hidden_dim"]
    found |= {
        "distilled_guidance_layer.in_proj": (hidden, c["approximator_num_channels"]),
        "distilled_guidance_layer.out_proj": (width, hidden),
    }
    block = mlp("", hidden, hidden)
    block = {name.removeprefix("."): shape for name, shape in block.items()}
    return found | stack("distilled_guidance_layer.layers", c["approximator_layers"], block)


def flux_2(c: Mapping[str, Any]) -> Layers:
    """https://github.com/black-forest-labs/flux2, `src/flux2/model.py`: modulations are shared by the blocks."""
    width, found = bfl(c, modulated=False, gated=2, ratio=3)
    found |= mlp("time_in", width, 256) | (mlp("guidance_in", width, 256) if c["guidance_embeds"] else {})
    return found | {
        "double_stream_modulation_img.lin": (6 * width, width),
        "double_stream_modulation_txt.lin": (6 * width, width),
        "single_stream_modulation.lin": (3 * width, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }


def z_image(c: Mapping[str, Any]) -> Layers:
    """ComfyUI's, from Lumina's code: `comfy/ldm/lumina/model.py`."""
    width = c["dim"]
    hidden = int(width / 3 * 8)
    block = {
        "attention.qkv": (3 * width, width),
        "attention.out": (width, width),
        "feed_forward.w1": (hidden, width),
        "feed_forward.w2": (width, hidden),
        "feed_forward.w3": (hidden, width),
    }
    modulated = block | {"adaLN_modulation.0": (4 * width, 256)}
    return {
        **stack("layers", c["n_layers"], modulated),
        **stack("noise_refiner", c["n_refiner_layers"], modulated),
        **stack("context_refiner", c["n_refiner_layers"], block),
        "x_embedder": (width, 4 * c["in_channels"]),
        "cap_embedder.1": (width, c["cap_feat_dim"]),
        "t_embedder.mlp.0": (1024, 256),
        "t_embedder.mlp.2": (256, 1024),
        "final_layer.linear": (4 * c["in_channels"], width),
        "final_layer.adaLN_modulation.1": (width, 256),
    }


def lumina_2(c: Mapping[str, Any]) -> Layers:
    """https://github.com/Alpha-VLLM/Lumina-Image-2.0, `models/model.py`."""
    width, each = c["hidden_size"], c["hidden_size"] // c["num_attention_heads"]
    hidden, condition = 4 * width, min(width, 1024)
    block = {
        "attention.qkv": (width + 2 * c["num_kv_heads"] * each, width),
        "attention.out": (width, width),
        "feed_forward.w1": (hidden, width),
        "feed_forward.w2": (width, hidden),
        "feed_forward.w3": (hidden, width),
    }
    modulated = block | {"adaLN_modulation.1": (4 * width, condition)}
    return {
        **stack("layers", c["num_layers"], modulated),
        **stack("noise_refiner", c["num_refiner_layers"], modulated),
        **stack("context_refiner", c["num_refiner_layers"], block),
        "x_embedder": (width, 4 * c["in_channels"]),
        "cap_embedder.1": (width, c["cap_feat_dim"]),
        "t_embedder.mlp.0": (condition, 256),
        "t_embedder.mlp.2": (condition, condition),
        "final_layer.linear": (4 * c["in_channels"], width),
        "final_layer.adaLN_modulation.1": (width, condition),
    }


def krea_2(c: Mapping[str, Any]) -> Layers:
    """Krea's own code, as https://github.com/ostris/ai-toolkit has it: `diffusion_models/krea2/src/mmdit.py`."""
    width, text = c["num_attention_heads"] * c["attention_head_dim"], c["text_hidden_dim"]

    def block(width: int, heads: int, shared: int, hidden: int) -> Layers:
        narrow = width // heads * shared
        return {
            **{"attn.wq": (width, width), "attn.wk": (narrow, width), "attn.wv": (narrow, width)},
            **{"attn.wo": (width, width), "attn.gate": (width, width)},
            **{"mlp.gate": (hidden, width), "mlp.up": (hidden, width), "mlp.down": (width, hidden)},
        }

    of_text = block(text, c["text_num_attention_heads"], c["text_num_key_value_heads"], c["text_intermediate_size"])
    return {
        **stack(
            "blocks",
            c["num_layers"],
            block(width, c["num_attention_heads"], c["num_key_value_heads"], c["intermediate_size"]),
        ),
        **stack("txtfusion.layerwise_blocks", c["num_layerwise_text_blocks"], of_text),
        **stack("txtfusion.refiner_blocks", c["num_refiner_text_blocks"], of_text),
        "txtfusion.projector": (1, c["num_text_layers"]),
        "first": (width, c["in_channels"]),
        "tmlp.0": (width, c["timestep_embed_dim"]),
        "tmlp.2": (width, width),
        "tproj.1": (6 * width, width),
        "txtmlp.1": (width, text),
        "txtmlp.3": (width, width),
        "last.linear": (c["in_channels"], width),
    }


def sd_3(c: Mapping[str, Any]) -> Layers:
    """https://github.com/Stability-AI/sd3.5, `mmditx.py`."""
    width = c["num_attention_heads"] * c["attention_head_dim"]
    found: Layers = {
        "context_embedder": (c["caption_projection_dim"], c["joint_attention_dim"]),
        **{"t_embedder.mlp.0": (width, 256), "t_embedder.mlp.2": (width, width)},
        **{"y_embedder.mlp.0": (width, c["pooled_projection_dim"]), "y_embedder.mlp.2": (width, width)},
        "final_layer.linear": (4 * c["out_channels"], width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }
    attention = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    feed = {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    for i in range(c["num_layers"]):
        dual, last = i in c["dual_attention_layers"], i == c["num_layers"] - 1
        image = {**attention, **feed, "adaLN_modulation.1": ((9 if dual else 6) * width, width)}
        image |= {n.replace("attn", "attn2"): shape for n, shape in attention.items()} if dual else {}
        context = {"attn.qkv": (3 * width, width), "adaLN_modulation.1": (2 * width, width)}
        if not last:
            context = {**attention, **feed, "adaLN_modulation.1": (6 * width, width)}
        found |= {f"joint_blocks.{i}.x_block.{n}": shape for n, shape in image.items()}
        found |= {f"joint_blocks.{i}.context_block.{n}": shape for n, shape in context.items()}
    return found


OF_CLASS: Mapping[str, Callable[[Mapping[str, Any]], Layers]] = {
    "FluxTransformer2DModel": flux,
    "ChromaTransformer2DModel": chroma,
    "Flux2Transformer2DModel": flux_2,
    "ZImageTransformer2DModel": z_image,
    "Lumina2Transformer2DModel": lumina_2,
    "Krea2Transformer2DModel": krea_2,
    "SD3Transformer2DModel": sd_3,
}


def original_layers(name: str) -> Layers:
    """The linear layers of a published model, as its own code names them."""
    told = PUBLISHED[name]
    return OF_CLASS[told["class"]](told["config"])


def without(layers: Layers, *marks: str) -> Layers:
    """The layers whose names hold none of these."""
    return {name: shape for name, shape in layers.items() if not any(mark in name for mark in marks)}


def beginning(layers: Layers, starts: Iterable[str]) -> Layers:
    """The layers whose names begin so."""
    return {name: shape for name, shape in layers.items() if name.startswith(tuple(starts))}
