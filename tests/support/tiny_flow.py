"""Whole pipelines of rectified-flow transformers with tiny random networks, which can be saved and loaded."""

import string

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextModel,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLModel,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.support import tiny, tiny_families

SIDE = 64  # pixels of the square that a tiny model is made for
LATENT = 4  # channels
VISION = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 16}
SHIFT, SCALE = 0.1159, 0.3611


def vae(side=SIDE):
    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=2,
        latent_channels=LATENT,
        sample_size=side,
        scaling_factor=SCALE,
        shift_factor=SHIFT,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def t5_tokenizer(longest=16):
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((c, -3.0) for c in tiny.LETTERS)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=longest)


def t5(names, width=12):
    config = T5Config(
        vocab_size=len(names), d_model=width, d_kv=4, d_ff=16, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return T5EncoderModel(config)


def flux(guidance=True, seed=0):
    """FLUX.1: dev with guidance and a shift that grows with the picture; schnell with neither."""
    torch.manual_seed(seed)
    clip, pieces = tiny.tokenizer(), t5_tokenizer()
    transformer = FluxTransformer2DModel(
        in_channels=4 * LATENT,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=8,
        guidance_embeds=guidance,
        axes_dims_rope=(2, 2, 4),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0 if guidance else 1.0, use_dynamic_shifting=guidance),
        vae=vae(),
        text_encoder=CLIPTextModel(tiny_families.clip_config(clip, 8)),
        tokenizer=clip,
        text_encoder_2=t5(pieces),
        tokenizer_2=pieces,
        transformer=transformer,
    )


def qwen_tokenizer(longest=1024):
    marks = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    letters = [*string.ascii_letters, *string.digits, *string.punctuation, "Ġ", "Ċ"]
    names = Qwen2Tokenizer(vocab={c: i for i, c in enumerate([*letters, *marks])}, merges=[], model_max_length=longest)
    names.add_special_tokens({"additional_special_tokens": list(marks[1:])})
    names.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return names


def qwen_text(names, layers):
    return {
        "vocab_size": len(names),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 2048,
        "pad_token_id": 0,
    }


def video_vae():
    """The autoencoder of a film, whose channels each have moments of their own."""
    return AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=LATENT,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.01, -0.02, 0.03, 0.0],
        latents_std=[0.15, 0.05, 0.1, 0.2],
    )


def sized(transformer):
    """With the side that it was made for, which autoencoders of films do not state."""
    transformer.register_to_config(sample_size=SIDE // 8)
    return transformer


def z_image(shift=3.0, seed=0):
    torch.manual_seed(seed)
    names = qwen_tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=LATENT,
        dim=16,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[2, 2, 4],
        axes_lens=[1024, 64, 64],
    )
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        vae=vae(),
        text_encoder=Qwen3Model(Qwen3Config(**qwen_text(names, 2))),
        tokenizer=names,
        transformer=transformer,
    )


def qwen_image(seed=0):
    torch.manual_seed(seed)
    names = qwen_tokenizer()
    text = qwen_text(names, 2) | {"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}
    transformer = QwenImageTransformer2DModel(
        in_channels=4 * LATENT,
        out_channels=LATENT,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(2, 2, 4),
    )
    shift = {"use_dynamic_shifting": True, "max_shift": 0.9, "max_image_seq_len": 8192, "shift_terminal": 0.02}
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**shift),
        vae=video_vae(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=VISION)),
        tokenizer=names,
        transformer=sized(transformer),
    )


def flux_2_transformer(guidance):
    return Flux2Transformer2DModel(
        in_channels=4 * LATENT,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=3 * 16,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=guidance,
    )


def flux_2_vae(seed):
    autoencoder = AutoencoderKLFlux2(
        block_out_channels=(4, 4, 4, 4), norm_num_groups=2, latent_channels=LATENT, sample_size=SIDE, layers_per_block=1
    )
    generator = torch.Generator().manual_seed(seed)
    autoencoder.bn.running_mean.copy_(torch.randn(4 * LATENT, generator=generator))
    autoencoder.bn.running_var.copy_(0.5 + torch.rand(4 * LATENT, generator=generator))
    return autoencoder


def flux_2_klein(seed=0):
    torch.manual_seed(seed)
    names, transformer = qwen_tokenizer(), flux_2_transformer(guidance=False)
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=flux_2_vae(seed),
        text_encoder=Qwen3ForCausalLM(Qwen3Config(**qwen_text(names, 28), tie_word_embeddings=True)),
        tokenizer=names,
        transformer=transformer,
    )


def mistral_processor():
    """Of texts and pictures, as FLUX.2 dev has it in the place of a tokenizer."""
    roles = ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]")
    letters = ["<unk>", "<s>", "</s>", "<pad>", *roles, *string.ascii_letters, *string.digits, *string.punctuation, "Ġ"]
    backend = Tokenizer(BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    marks = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    names = PreTrainedTokenizerFast(
        tokenizer_object=backend, **marks, additional_special_tokens=list(roles), padding_side="left"
    )
    turns = ["{{ m['content'][0]['text'] }}".join(roles[i : i + 2]) for i in (0, 2)]
    chosen = f"{{% if m['role'] == 'system' %}}{turns[0]}{{% else %}}{turns[1]}{{% endif %}}"
    template = f"{{{{ bos_token }}}}{{% for m in messages %}}{chosen}{{% endfor %}}"
    images = PixtralImageProcessor(patch_size={"height": 4, "width": 4}, size={"longest_edge": 16})
    return PixtralProcessor(images, names, patch_size=4, chat_template=template)


def flux_2_dev(seed=0):
    torch.manual_seed(seed)
    processor, transformer = mistral_processor(), flux_2_transformer(guidance=True)
    text = qwen_text(processor.tokenizer, 30) | {"model_type": "mistral", "pad_token_id": 3}
    vision = {"model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "head_dim": 8, "image_size": 16, "patch_size": 4}
    config = Mistral3Config(text_config=text, vision_config=vision, image_token_index=8)
    return Flux2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=flux_2_vae(seed),
        text_encoder=Mistral3ForConditionalGeneration(config),
        tokenizer=processor,
        transformer=transformer,
    )


def chroma(seed=0):
    torch.manual_seed(seed)
    pieces = t5_tokenizer()
    transformer = ChromaTransformer2DModel(
        in_channels=4 * LATENT,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        axes_dims_rope=(2, 2, 4),
        approximator_num_channels=8,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    return ChromaPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae(),
        text_encoder=t5(pieces),
        tokenizer=pieces,
        transformer=transformer,
    )


def krea_2(distilled=False, seed=0):
    torch.manual_seed(seed)
    names = qwen_tokenizer()
    text = qwen_text(names, 2) | {"rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2]}}
    vision = VISION | {"deepstack_visual_indexes": []}
    transformer = Krea2Transformer2DModel(
        in_channels=4 * LATENT,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=16,
        timestep_embed_dim=16,
        text_hidden_dim=16,
        num_text_layers=2,
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=16,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(2, 2, 4),
    )
    return Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, max_image_seq_len=6400),
        vae=video_vae(),
        text_encoder=Qwen3VLModel(
            Qwen3VLConfig(text_config=text, vision_config=vision | {"deepstack_visual_indexes": []})
        ),
        tokenizer=names,
        transformer=sized(transformer),
        text_encoder_select_layers=(1, 2),
        is_distilled=distilled,
    )


def lumina_2(seed=0):
    torch.manual_seed(seed)
    marks = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    letters = [*marks, "▁", *string.ascii_letters, *string.punctuation]
    names = GemmaTokenizer(vocab={c: i for i, c in enumerate(letters)}, merges=[], model_max_length=1024)
    transformer = Lumina2Transformer2DModel(
        sample_size=SIDE // 8,
        in_channels=LATENT,
        hidden_size=24,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=8,
        axes_dim_rope=(4, 4, 4),
        axes_lens=(300, 64, 64),
        cap_feat_dim=16,
    )
    return Lumina2Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=vae(),
        text_encoder=Gemma2Model(Gemma2Config(**qwen_text(names, 2), bos_token_id=2, eos_token_id=1)),
        tokenizer=names,
    )


def packed(pipeline, x):
    """Latents as the pipeline's own code packs them."""
    return pipeline._pack_latents(x, *x.shape)


def packed_2(pipeline, x):
    """Likewise for FLUX.2, which takes squares of cells and packs them itself."""
    return pipeline._patchify_latents(x)


# family -> (makes its pipeline, what its pipeline is given for a picture without guidance; "start" makes its latents)
FLOW = {
    "flux-dev": (flux, {"guidance_scale": 1.0, "start": packed}),
    "flux-schnell": (lambda: flux(guidance=False), {"max_sequence_length": 256, "start": packed}),
    "z-image": (z_image, {"guidance_scale": 0.0}),
    "qwen-image": (qwen_image, {"true_cfg_scale": 1.0, "start": packed}),
    "flux-2-klein": (flux_2_klein, {"guidance_scale": 1.0, "start": packed_2}),
    "flux-2-dev": (flux_2_dev, {"guidance_scale": 1.0, "start": packed_2}),
    # of so few tokens that nothing is padded: diffusers' mask weakens padding and does not leave it out
    "chroma": (chroma, {"guidance_scale": 0.0, "start": packed, "max_sequence_length": 6}),
    "krea-2": (krea_2, {"guidance_scale": 0.0, "start": packed}),
    "krea-2-turbo": (lambda: krea_2(distilled=True), {"guidance_scale": 0.0, "start": packed}),
    "lumina-2": (lumina_2, {"guidance_scale": 1.0}),
    "sd-3": (lambda: tiny_families.stable_diffusion_3(layers=2), {"guidance_scale": 1.0}),
    "sd-3.5": (lambda: tiny_families.stable_diffusion_3(newer=True, layers=2), {"guidance_scale": 1.0}),
}
