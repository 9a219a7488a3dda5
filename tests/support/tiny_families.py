"""Whole pipelines of the larger families with tiny random networks, which can be saved and loaded like real ones."""

import torch
from diffusers import (
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.deprecated.alt_diffusion import AltDiffusionPipeline, RobertaSeriesModelWithTransformation
from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import RobertaSeriesConfig
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, XLMRobertaTokenizer

from tests.support import tiny

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def clip_config(names, width, layers=2, projection=None, act="quick_gelu"):
    """Every family has text encoders of its own width, depth and activation."""
    return CLIPTextConfig(
        vocab_size=len(names),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=projection or width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=7,
        hidden_act=act,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def unet(width, **options):
    """Width of the text features that it reads; SD 2 and later project by linear layers, with heads per level."""
    changes = {"cross_attention_dim": width, "attention_head_dim": (1, 2), "use_linear_projection": True}
    return UNet2DConditionModel(**(tiny.UNET | changes | options))


def stable_diffusion_2(prediction="v_prediction", seed=0):
    """SD 2.x: an open_clip text encoder without its last layer."""
    torch.manual_seed(seed)
    names = tiny.tokenizer()
    return StableDiffusionPipeline(
        vae=tiny.vae(),
        text_encoder=CLIPTextModel(clip_config(names, 12, act="gelu")),
        tokenizer=names,
        unet=unet(12),
        scheduler=DDIMScheduler(**NOISE, prediction_type=prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(seed=0, widths=(8, 12)):
    """SDXL: features of two text encoders side by side; pooled features of the second, and the picture's size."""
    torch.manual_seed(seed)
    names, (first, second) = tiny.tokenizer(), widths
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    return StableDiffusionXLPipeline(
        vae=tiny.vae(),
        text_encoder=CLIPTextModel(clip_config(names, first)),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(names, second, act="gelu")),
        tokenizer=names,
        tokenizer_2=tiny.tokenizer(),
        unet=unet(first + second, **added, projection_class_embeddings_input_dim=6 * 8 + second),
        scheduler=DDIMScheduler(**NOISE),
    )


def stable_diffusion_xl_v(zero_snr=True):
    """A descendant of SDXL that predicts v, as NoobAI's is published: noise alone in the last row, or nearly so."""
    pipeline = stable_diffusion_xl()
    settings = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if zero_snr else {}
    pipeline.scheduler = DDIMScheduler(**NOISE, prediction_type="v_prediction", **settings)
    return pipeline


def stable_diffusion_3(newer=False, layers=1, seed=0):
    """SD 3 without its optional T5: a transformer and rectified flow. SD 3.5 attends twice, with normed queries."""
    torch.manual_seed(seed)
    names = tiny.tokenizer()
    more = {"dual_attention_layers": (0,), "qk_norm": "rms_norm"} if newer else {}
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=layers,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=24,
        pooled_projection_dim=20,
        out_channels=4,
        pos_embed_max_size=8,
        **more,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny.vae(),
        text_encoder=CLIPTextModelWithProjection(clip_config(names, 8)),
        tokenizer=names,
        text_encoder_2=CLIPTextModelWithProjection(clip_config(names, 12, act="gelu")),
        tokenizer_2=tiny.tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


def roberta_tokenizer():
    marks = ("<s>", "<pad>", "</s>", "<unk>")
    pieces = [*((m, 0.0) for m in marks), ("▁", -2.0), *((c, -3.0) for c in tiny.LETTERS), ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=pieces, model_max_length=7)


def alt_diffusion(pre_transformation=False, seed=0):
    """AltDiffusion: a multilingual text encoder; m18's features come from its last layer but one."""
    torch.manual_seed(seed)
    names = roberta_tokenizer()
    config = RobertaSeriesConfig(
        vocab_size=len(names),
        hidden_size=12,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=10,
        type_vocab_size=1,
        project_dim=8,
        has_pre_transformation=pre_transformation,
    )
    return AltDiffusionPipeline(
        vae=tiny.vae(),
        text_encoder=RobertaSeriesModelWithTransformation(config),
        tokenizer=names,
        unet=UNet2DConditionModel(**tiny.UNET),
        scheduler=PNDMScheduler(**NOISE, skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


# families of DDPM's noise that predict v
V_PREDICTION = {"sdxl-v": lambda: stable_diffusion_xl_v(zero_snr=False), "sdxl-v-zero-snr": stable_diffusion_xl_v}
