"""`python -m eval flow`: train the embedded flow model. Every stage resumes where it stopped: run it again.

FLUX's layout and loss: rectified flow, z_t = (1 - t) z + t eps, the network predicts eps - z, t is the sigmoid of a
normal (Esser et al., "Scaling Rectified Flow Transformers", 2024, Eq. 13 and 19).
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel, T5EncoderModel

from cgidm.families.kinds.packing import pack
from eval.asset_recipes.corpus import Corpus, build_corpus, load_corpus
from eval.asset_recipes.flow_record import document_flow_training
from eval.asset_recipes.flow_text import CLIP_WIDTH, LENGTH, T5_WIDTH, find_tokenizers, new_encoders
from eval.asset_recipes.mini import CAPTION_DROPOUT, LOG_EVERY, RESOLUTION, VIEWS, encode_views
from eval.asset_recipes.picture_words import Caption, caption_variants, describe_picture
from eval.asset_recipes.text_encoder import token_ids
from eval.asset_recipes.training import Training

CHANNELS = 16  # of the autoencoder's latents
GRID = RESOLUTION // 16  # tokens along a side: 2x2 latents make one
VARIANTS = 8  # captions of each picture
HEADS, AXES = 4, (8, 16, 16)  # rotary widths of (index, row, column), their sum the width of a head


def train_flow(pictures: Path, openclipart: Path | None, vae: Path, work: Path, out: Path, *, steps: int) -> None:
    """Corpus, latents, text encoders with transformer; the pipeline folder `out` in half precision."""
    done = (work / "corpus.npz").exists()
    corpus = load_corpus(work) if done else build_corpus(pictures, openclipart, work)
    autoencoder: Any = AutoencoderKL.from_pretrained(vae).eval()
    latents = encode_views(autoencoder, corpus, work, half=True)
    denoiser, tokenizers = train_denoiser(corpus, latents, work, steps=steps)
    save_pipeline(autoencoder, denoiser, tokenizers, out)
    margin = (corpus.pictures.shape[1] - RESOLUTION) // 2
    held_out = corpus.pictures[corpus.held_out][:, margin : margin + RESOLUTION, margin : margin + RESOLUTION]
    document_flow_training(work / "flow" / "loss.csv", held_out, out)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    train_flow(
        options.pictures, options.openclipart, options.vae, options.work, options.out, steps=options.transformer_steps
    )


def picture_captions(corpus: Corpus, work: Path) -> list[Caption]:
    """Each picture's title with the words that its pixels give, kept in `captions.json`."""
    path = work / "captions.json"
    if not path.exists():
        margin = (corpus.pictures.shape[1] - RESOLUTION) // 2
        middle = corpus.pictures[:, margin : margin + RESOLUTION, margin : margin + RESOLUTION]
        path.write_text(json.dumps([describe_picture(picture) for picture in middle]))
    parts = json.loads(path.read_text())
    return [Caption(title, tuple(p)) for title, p in zip(corpus.captions, parts, strict=True)]


class FlowDenoiser(nn.Module):
    """Both text encoders and the transformer, trained together."""

    def __init__(self, text_encoder: CLIPTextModel, text_encoder_2: T5EncoderModel):
        super().__init__()
        self.text_encoder, self.text_encoder_2 = text_encoder, text_encoder_2
        self.transformer = FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * CHANNELS,
            num_layers=1,
            num_single_layers=4,
            attention_head_dim=sum(AXES),
            num_attention_heads=HEADS,
            joint_attention_dim=T5_WIDTH,
            pooled_projection_dim=CLIP_WIDTH,
            guidance_embeds=False,
            axes_dims_rope=AXES,
        )
        _start_near_identity(self.transformer)
        rows, columns = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
        places = torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3)
        self.register_buffer("image_places", places.float(), persistent=False)
        self.register_buffer("text_places", torch.zeros(LENGTH, 3), persistent=False)

    def forward(self, z_t: Tensor, t: Tensor, clip_ids: Tensor, t5_ids: Tensor) -> Tensor:
        """Predict the velocity of packed latents `b n c` at times t in [0, 1], under prompts of token ids."""
        return self.transformer(
            hidden_states=z_t,
            timestep=t,
            encoder_hidden_states=self.text_encoder_2(t5_ids)[0],  # no mask: FLUX lets padding be read
            pooled_projections=self.text_encoder(clip_ids).pooler_output,
            img_ids=self.image_places,
            txt_ids=self.text_places,
        ).sample


@dataclass(frozen=True, eq=False)
class FlowBatch:
    """Packed latents with prompts, times, and noise."""

    z: Tensor  # b n c
    clip_ids: Tensor  # b LENGTH
    t5_ids: Tensor  # b LENGTH
    t: Tensor  # b
    eps: Tensor  # b n c


@dataclass(frozen=True, eq=False)
class FlowData:
    """Packed latents of pictures in VIEWS crops, and the token ids of their captions in VARIANTS wordings."""

    z: Tensor  # n VIEWS tokens channels, half precision
    clip_ids: Tensor  # n VARIANTS LENGTH
    t5_ids: Tensor  # n VARIANTS LENGTH

    def rows(self, which: Tensor) -> "FlowData":
        """The pictures `which`: indices, or a mask."""
        return FlowData(self.z[which], self.clip_ids[which], self.t5_ids[which])


def train_denoiser(
    corpus: Corpus, latents: Tensor, work: Path, *, steps: int, batch: int = 16
) -> tuple[FlowDenoiser, tuple[Any, Any]]:
    """Train on the latents. `loss.csv` has the held-out loss under right captions, under wrong ones, under none."""
    torch.manual_seed(0)  # only the initial weights draw from it
    wordings = caption_variants(picture_captions(corpus, work), VARIANTS)
    flat = [caption for variants in wordings for caption in variants]
    tokenizers = find_tokenizers(flat, work)
    clip_ids, t5_ids = (token_ids(t, flat).unflatten(0, (-1, VARIANTS)) for t in tokenizers)
    blanks = [token_ids(t, [""])[0] for t in tokenizers]
    denoiser = FlowDenoiser(*new_encoders(*tokenizers))
    held_out = torch.as_tensor(corpus.held_out)
    data = FlowData(pack(latents.flatten(0, 1)).unflatten(0, latents.shape[:2]), clip_ids, t5_ids)
    learnt, tests = data.rows(~held_out), held_out_batches(data.rows(held_out), blanks)
    training = Training(work / "flow", denoiser, steps=steps, learning_rate=1e-3)
    smooth = None
    for value in training.run(lambda generator: flow_loss(denoiser, draw_batch(learnt, blanks, batch, generator))):
        smooth = value if smooth is None else 0.98 * smooth + 0.02 * value
        if training.step % LOG_EVERY == 0 or training.step == steps:
            with training.averaged(), torch.no_grad():
                losses = {name: flow_loss(denoiser, b).item() for name, b in tests.items()}
            training.log(smooth, losses.pop("right"), **losses)
            training.save()
    training.ema.copy_to(denoiser.parameters())
    return denoiser.eval(), tokenizers


def flow_loss(denoiser: nn.Module, b: FlowBatch) -> Tensor:
    """Mean squared error of the velocity."""
    t = b.t[:, None, None]
    with torch.autocast("cpu", torch.bfloat16):
        predicted = denoiser((1 - t) * b.z + t * b.eps, b.t, b.clip_ids, b.t5_ids)
    return F.mse_loss(predicted.float(), b.eps - b.z)


def draw_batch(data: FlowData, blanks: list[Tensor], size: int, generator: torch.Generator) -> FlowBatch:
    """A training batch: any crop, any wording, one caption in ten left out, t the sigmoid of a normal."""
    rows = torch.randint(len(data.z), (size,), generator=generator)
    views, wordings = (torch.randint(n, (size,), generator=generator) for n in (VIEWS, VARIANTS))
    dropped = (torch.rand(size, generator=generator) < CAPTION_DROPOUT)[:, None]
    z = data.z[rows, views].float()
    clip_ids, t5_ids = (
        torch.where(dropped, blank, ids[rows, wordings])
        for blank, ids in zip(blanks, (data.clip_ids, data.t5_ids), strict=True)
    )
    t = torch.randn(size, generator=generator).sigmoid()
    return FlowBatch(z, clip_ids, t5_ids, t, torch.randn(z.shape, generator=generator))


def held_out_batches(data: FlowData, blanks: list[Tensor]) -> dict[str, FlowBatch]:
    """The same latents, times and noise under their own full caption, that of a far row, and the empty prompt."""
    generator = torch.Generator().manual_seed(1)
    n = len(data.z)
    z, clip_ids, t5_ids = data.z[:, 0].float(), data.clip_ids[:, 0], data.t5_ids[:, 0]
    t = (torch.randperm(n, generator=generator) + 0.5) / n  # uniform: a test need not follow the training's law
    eps = torch.randn(z.shape, generator=generator)
    return {
        "right": FlowBatch(z, clip_ids, t5_ids, t, eps),
        "wrong": FlowBatch(z, clip_ids.roll(n // 3, 0), t5_ids.roll(n // 3, 0), t, eps),
        "blank": FlowBatch(z, blanks[0].expand(n, -1), blanks[1].expand(n, -1), t, eps),
    }


def new_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Without a shift: 64 tokens are few."""
    return FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False)


def save_pipeline(vae: Any, denoiser: FlowDenoiser, tokenizers: tuple[Any, Any], out: Path) -> None:
    """Write the FluxPipeline folder, half precision, in shards below 10 MB."""
    vae.register_to_config(_name_or_path="", shift_factor=0.0)  # not the builder's paths; FLUX needs a number
    pipeline = FluxPipeline(
        scheduler=new_scheduler(),
        vae=vae,
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizers[0],
        text_encoder_2=denoiser.text_encoder_2,
        tokenizer_2=tokenizers[1],
        transformer=denoiser.transformer,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(out, max_shard_size="9MB")


def _start_near_identity(transformer: FluxTransformer2DModel) -> None:
    """Zero the modulations and the last layer, as DiT does: every block begins as the identity."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
            if ".norm" in name or name in ("norm_out.linear", "proj_out"):
                nn.init.zeros_(module.weight)
