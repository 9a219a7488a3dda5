"""`python -m eval mini`: train the embedded model. Every stage resumes where it stopped: run it again."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from eval.asset_recipes.autoencoder import CROP, LATENT_CHANNELS, autoencoder_loss, new_autoencoder, reconstruction_psnr
from eval.asset_recipes.corpus import Corpus, build_corpus, load_corpus
from eval.asset_recipes.text_encoder import WIDTH, new_text_encoder, token_ids, train_tokenizer
from eval.asset_recipes.training import Training
from eval.asset_recipes.training_figures import document_training

RESOLUTION = 128  # pixels: what the model sees
VIEWS = 4  # stored crops of each picture: the centre, its mirror image, two more
CAPTION_DROPOUT = 0.1
LOG_EVERY = 250


def train_all(
    pictures: Path, openclipart: Path | None, work: Path, out: Path, *, autoencoder_steps: int, unet_steps: int
) -> None:
    """Corpus, autoencoder, text encoder with denoiser; the pipeline folder `out` in half precision, with its record."""
    done = (work / "corpus.npz").exists()
    corpus = load_corpus(work) if done else build_corpus(pictures, openclipart, work)
    vae = AutoencoderKL.from_pretrained(train_autoencoder(corpus, work, steps=autoencoder_steps))
    latents = encode_views(vae.eval(), corpus, work)
    denoiser, tokenizer = train_denoiser(corpus, latents, work, steps=unet_steps)
    save_pipeline(vae, denoiser, tokenizer, out)
    margin = (corpus.pictures.shape[1] - RESOLUTION) // 2
    held_out = corpus.pictures[corpus.held_out][:, margin : margin + RESOLUTION, margin : margin + RESOLUTION]
    document_training(work, held_out, out)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    steps = {"autoencoder_steps": options.autoencoder_steps, "unet_steps": options.unet_steps}
    train_all(options.pictures, options.openclipart, options.work, options.out, **steps)


def as_images(pictures: np.ndarray | Tensor) -> Tensor:
    """uint8 `n h w 3` -> float `n 3 h w` in [-1, 1]."""
    return torch.as_tensor(pictures).movedim(-1, 1).float() / 127.5 - 1


def centre(pictures: np.ndarray) -> Tensor:
    """The middle RESOLUTION x RESOLUTION of stored pictures."""
    margin = (pictures.shape[1] - RESOLUTION) // 2
    return as_images(pictures[:, margin : margin + RESOLUTION, margin : margin + RESOLUTION])


def train_autoencoder(corpus: Corpus, work: Path, *, steps: int, batch: int = 16) -> Path:
    """Train on random crops; the held-out column of `loss.csv` is PSNR in dB at 128 px."""
    if (work / "vae").exists():
        return work / "vae"
    torch.manual_seed(0)  # only the initial weights draw from it
    pictures = torch.as_tensor(corpus.pictures[~corpus.held_out])
    held_out = centre(corpus.pictures[corpus.held_out][:96])
    vae: Any = new_autoencoder(as_images(pictures[:: max(1, len(pictures) // 400)]))
    training = Training(work / "autoencoder", vae, steps=steps, learning_rate=2e-3)

    def loss(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(pictures), (batch,), generator=generator)
        tops, lefts = torch.randint(pictures.shape[1] - CROP + 1, (2, batch), generator=generator)
        crops = [pictures[r, y : y + CROP, x : x + CROP] for r, y, x in zip(rows, tops, lefts, strict=True)]
        return autoencoder_loss(vae, as_images(torch.stack(crops)), generator)

    for value in training.run(loss):
        if training.step % LOG_EVERY == 0 or training.step == steps:
            with training.averaged():
                training.log(value, reconstruction_psnr(vae, held_out).mean().item())
            training.save()
    training.ema.copy_to(vae.parameters())
    with torch.no_grad():  # Stable Diffusion's convention: codes of unit deviation
        deviation = vae.eval().encode(held_out).latent_dist.mode().std().item()
    vae.register_to_config(scaling_factor=round(1 / deviation, 5))
    vae.save_pretrained(work / "vae")
    return work / "vae"


def encode_views(vae: Any, corpus: Corpus, work: Path, *, half: bool = False) -> Tensor:
    """Scaled codes of VIEWS crops of every picture, `n VIEWS c h w` in float16; computed in bfloat16 if `half`."""
    path = work / "latents.pt"

    def encode(pictures: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            return vae.encode(pictures).latent_dist.mode().half()

    if not path.exists():
        codes = [torch.cat([encode(part) for part in view.split(32)]) for view in _views(corpus)]
        torch.save(vae.config.scaling_factor * torch.stack(codes, 1), path)
    return torch.load(path, weights_only=True)


def _views(corpus: Corpus) -> Iterator[Tensor]:
    """The centres, their mirror images, and two more crops; one at a time, for each takes a gigabyte."""
    generator = torch.Generator().manual_seed(0)
    margin = corpus.pictures.shape[1] - RESOLUTION
    yield centre(corpus.pictures)
    yield centre(corpus.pictures).flip(-1)
    for flip in (False, True):
        top, left = torch.randint(margin + 1, (2, len(corpus.pictures)), generator=generator)
        view = torch.stack(
            [
                as_images(p[None, y : y + RESOLUTION, x : x + RESOLUTION])[0]
                for p, y, x in zip(corpus.pictures, top.tolist(), left.tolist(), strict=True)
            ]
        )
        yield view.flip(-1) if flip else view


class Denoiser(nn.Module):
    """Text encoder and UNet, trained together."""

    def __init__(self, text_encoder: CLIPTextModel):
        super().__init__()
        self.text_encoder = text_encoder
        self.unet = UNet2DConditionModel(
            sample_size=RESOLUTION // 8,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=(64, 112, 128),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=4,  # diffusers' name for the number of heads of this class
            norm_num_groups=16,
        )

    def forward(self, z_t: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        """Predict the noise of latents at rows t, under prompts of token ids."""
        return self.unet(z_t, t, encoder_hidden_states=self.text_encoder(ids)[0]).sample


@dataclass(frozen=True, eq=False)
class DenoisingBatch:
    """Latents with prompts, rows of the schedule, and the noise to predict."""

    z: Tensor  # b c h w
    ids: Tensor  # b LENGTH
    t: Tensor  # b
    eps: Tensor  # b c h w


def train_denoiser(
    corpus: Corpus, latents: Tensor, work: Path, *, steps: int, batch: int = 32
) -> tuple[Denoiser, CLIPTokenizer]:
    """Train on the codes; the held-out column of `loss.csv` is the mean squared error of eps on fixed (t, eps)."""
    torch.manual_seed(0)  # only the initial weights draw from it
    tokenizer = train_tokenizer(corpus.captions)
    ids, blank = token_ids(tokenizer, corpus.captions), token_ids(tokenizer, [""])
    denoiser = Denoiser(new_text_encoder(tokenizer))
    alphas_cumprod = new_scheduler().alphas_cumprod
    held_out = torch.as_tensor(corpus.held_out)
    codes, code_ids = latents[~held_out], ids[~held_out]
    fixed = torch.Generator().manual_seed(1)
    test = _denoising_batch(latents[held_out], ids[held_out], blank, int(held_out.sum()), fixed)
    training = Training(work / "denoiser", denoiser, steps=steps, learning_rate=1e-3)

    def loss_of(b: DenoisingBatch) -> Tensor:
        a = alphas_cumprod[b.t][:, None, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            predicted = denoiser(a.sqrt() * b.z + (1 - a).sqrt() * b.eps, b.t, b.ids)
        return F.mse_loss(predicted.float(), b.eps)

    def loss(generator: torch.Generator) -> Tensor:
        return loss_of(_denoising_batch(codes, code_ids, blank, batch, generator))

    smooth = None
    for value in training.run(loss):
        smooth = value if smooth is None else 0.98 * smooth + 0.02 * value
        if training.step % LOG_EVERY == 0 or training.step == steps:
            with training.averaged(), torch.no_grad():
                training.log(smooth, loss_of(test).item())
            training.save()
    training.ema.copy_to(denoiser.parameters())
    return denoiser.eval(), tokenizer


def _denoising_batch(
    codes: Tensor, ids: Tensor, blank: Tensor, size: int, generator: torch.Generator
) -> DenoisingBatch:
    rows = torch.randint(len(codes), (size,), generator=generator)
    views = torch.randint(VIEWS, (size,), generator=generator)
    dropped = torch.rand(size, generator=generator) < CAPTION_DROPOUT
    z = codes[rows, views].float()
    t = torch.randint(1000, (size,), generator=generator)
    eps = torch.randn(z.shape, generator=generator)
    return DenoisingBatch(z, torch.where(dropped[:, None], blank, ids[rows]), t, eps)


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def save_pipeline(vae: Any, denoiser: Denoiser, tokenizer: CLIPTokenizer, out: Path) -> None:
    """Write the StableDiffusionPipeline folder, half precision, in shards below 10 MB."""
    vae.register_to_config(_name_or_path="")  # not the builder's paths
    parts: dict[str, Any] = {
        "vae": vae,
        "text_encoder": denoiser.text_encoder,
        "tokenizer": tokenizer,
        "unet": denoiser.unet,
        "scheduler": new_scheduler(),
        "safety_checker": None,
        "feature_extractor": None,
    }
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.to(dtype=torch.float16).save_pretrained(out, max_shard_size="9MB")
