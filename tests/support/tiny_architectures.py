"""The published architectures of the Stable Diffusion kind with all their parts, each of them small."""

from dataclasses import replace

from eval.speed.build import Architecture, read_architecture


def tiny(name: str) -> Architecture:
    """A published architecture with all its parts, each of them small."""
    whole = read_architecture(name)
    widths = [8, 16]
    blocks = {n: [*whole.unet[n][:1], *whole.unet[n][-1:]] for n in ("down_block_types", "up_block_types")}
    heads = whole.unet["attention_head_dim"]
    unet = {"block_out_channels": widths, "norm_num_groups": 4, "sample_size": 8, "layers_per_block": 1, **blocks}
    unet["attention_head_dim"] = [1, 2] if isinstance(heads, list) else 2
    text = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"projection_dim": 12, "max_position_embeddings": 16}
    encoders = tuple({**e, **text} for e in whole.text_encoders)
    unet["cross_attention_dim"] = 12 * len(encoders)
    if len(encoders) == 2:
        unet |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 6 * 8 + 12}
        unet["transformer_layers_per_block"] = [1, 2]
    vae = {**whole.vae, "block_out_channels": [4, 4, 4, 4], "norm_num_groups": 2, "layers_per_block": 1}
    return replace(whole, unet={**whole.unet, **unet}, vae=vae, text_encoders=encoders)
