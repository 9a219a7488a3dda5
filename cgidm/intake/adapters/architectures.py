"""Which architecture the module names of an adapter belong to, also of families that are not computed here.

The names are those of the families' public code, of diffusers, and of the trainers. They are compared with underscores
instead of dots, since flat dialects keep no dots. Where two families share their names, the width tells them apart.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

UNET = re.compile(
    r"(?:down_blocks|up_blocks|mid_block|conv_in|conv_out|conv_norm_out|time_embedding|add_embedding"
    r"|input_blocks|middle_block|output_blocks|time_embed_[02]|label_emb|out_[02])(?:_|$)"
)
TRANSFORMER = re.compile(
    r"(?:(?:single_|joint_)?transformer_blocks|joint_blocks|(?:double|single)_(?:stream_)?(?:blocks|layers)|layers|blocks"
    r"|(?:noise|context)_refiner|text_fusion|txtfusion|distilled_guidance_layer|all_x_embedder|all_final_layer)_\w"
    r"|(?:img|txt|time|vector|guidance)_in(?:_|$)|(?:double|single)_stream_modulation|final_layer|last_linear"
    r"|[xyt]_embedder|(?:context|cap|caption)_embedder|pos_embed_|time_(?:text|caption|guidance)_embed|norm_out_|proj_out$"
    r"|first$|tmlp_\d|tproj_1|txtmlp_\d|time_embed_linear_[12]|time_mod_proj"  # Krea 2
    r"|llm_adapter|text_embedding_|patch_embedding"
)
# (a pattern that some module's path has, family); the first match counts
MARKS = tuple(
    (re.compile(pattern), family)
    for pattern, family in (
        (r"txtfusion_|text_fusion_|^blocks_\d+_(?:attn_w[qkvo]|attn_gate|mlp_gate)$", "Krea 2"),
        (r"^transformer_blocks_\d+_(?:attn_to_gate|ff_(?:gate|up|down))$", "Krea 2"),
        (r"^blocks_\d+_(?:attn_[ab]_to_|ff_[ab]_|norm1_[ab]_)", "FLUX"),  # as DiffSynth names it
        (r"distilled_guidance_layer", "Chroma"),
        (r"double_stream_modulation|single_stream_modulation|attn_to_qkv_mlp_proj|_ff_linear_(?:in|out)$", "FLUX.2"),
        (r"(?:double|single)_stream_blocks_\d", "HiDream"),
        (r"^(?:double|single)_blocks_\d+_(?:(?:img|txt)_(?:mlp_fc[12]|mod_linear)|modulation_linear)$", "HunyuanVideo"),
        (r"(?:img|txt)_(?:mlp|mod)_\w*(?:net_|1$)|^transformer_blocks_\d+_(?:img|txt)_(?:mlp|mod)", "Qwen-Image"),
        (r"^joint_transformer_blocks|^(?:double|single)_layers_\d", "AuraFlow"),
        (r"^joint_blocks_\d", "SD 3"),
        (r"adaln_modulation_(?:self_attn|cross_attn|mlp)|^llm_adapter", "Anima"),
        (r"^blocks_\d+_(?:(?:self|cross)_attn_(?:[qkv]_proj|output_proj)|mlp_layer[12])$", "Anima"),
        (r"^blocks_\d+_(?:self_attn|cross_attn|ffn)_", "Wan"),
        (r"img_attn_q_norm|individual_token_refiner|^txt_in_c_embedder|byt5_in", "HunyuanVideo"),
        (r"^double_blocks_\d|^single_blocks_\d|^single_transformer_blocks_\d", "FLUX"),
    )
)
LAYERS = re.compile(r"^(?:layers|noise_refiner|context_refiner)_\d+_(?:attention|attn|feed_forward|adaLN_modulation)")
OF_LAYERS = {3840: "Z-Image", 2304: "Lumina 2"}  # width -> family
BLOCKS = re.compile(r"^transformer_blocks_(\d+)_(?:attn2?_|ff_|ff_context_|norm1)")
# two streams of diffusers' names: by width, the family of so many blocks, and that of more; SD 3 unless a width says so
OF_BLOCKS = {3072: ("FLUX", 19, "Qwen-Image"), 4096: ("FLUX.2", 8, "FLUX.2"), 6144: ("FLUX.2", 8, "Krea 2")}
# outputs for each input: in FLUX.1 7 (3 + 4) and 4, in FLUX.2 9 (3 + 2 * 3) and 6
RATIOS = ((re.compile(r"^single_blocks_\d+_linear1$"), 8), (re.compile(r"^double_blocks_\d+_\w+_mlp_0$"), 5))
QKV = re.compile(r"^double_blocks_\d+_\w+_attn_qkv$")
FLUX_2_WIDTHS = (4096, 6144)  # klein 4B has FLUX.1's


def is_unet(module: str) -> bool:
    """Whether a module's path begins as those of Stable Diffusion's UNet do, in diffusers' or Stability's names."""
    return UNET.match(module.replace(".", "_")) is not None


def is_transformer(module: str) -> bool:
    """Whether a module's path begins as those of a diffusion transformer do."""
    return TRANSFORMER.match(module.replace(".", "_")) is not None


def guess_architecture(changes: Mapping[str, tuple[int, ...] | None]) -> str | None:
    """The family of a transformer, by names and widths; None if they are of no known one.

    Args:
        changes: module, as the file names it -> shape of its change, (out, in), or None.
    """
    shapes: dict[str, Any] = {module.replace(".", "_"): shape for module, shape in changes.items()}
    for pattern, family in MARKS:
        if any(pattern.search(module) for module in shapes):
            return "FLUX.2" if family == "FLUX" and _is_flux_2(shapes) else family
    if any(LAYERS.match(module) for module in shapes):
        return next((OF_LAYERS[w] for w in _widths(shapes, LAYERS) if w in OF_LAYERS), "Lumina 2 or Z-Image")
    if any(BLOCKS.match(module) for module in shapes):
        few, most, more = next((OF_BLOCKS[w] for w in _widths(shapes, BLOCKS) if w in OF_BLOCKS), ("SD 3", 0, "SD 3"))
        return more if any(int(found[1]) >= most for m in shapes if (found := BLOCKS.match(m))) else few
    return None


def _widths(shapes: Mapping[str, Any], pattern: re.Pattern[str]) -> Iterable[int]:
    return (shape[1] for module, shape in shapes.items() if shape and len(shape) > 1 and pattern.match(module))


def _is_flux_2(shapes: Mapping[str, Any]) -> bool:
    return any(width in FLUX_2_WIDTHS for width in _widths(shapes, QKV)) or any(
        pattern.match(module) and shape and len(shape) == 2 and shape[0] >= ratio * shape[1]
        for pattern, ratio in RATIOS
        for module, shape in shapes.items()
    )
