"""`python -m eval stand-ins`: bases that stand in for SD 2.x and AltDiffusion, fine-tuned from the embedded model.

The paper's Table 2 asks four bases. Of the other kinds none ships, so these are made: each in minutes of one core, on
the licence-clean pictures of the corpus, none of a benchmark's artist. Every stage resumes: run the command again.
"""

import argparse
import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from cgidm.files import write_atomically
from eval.asset_recipes.corpus import Corpus, build_corpus, load_corpus
from eval.asset_recipes.mini import CAPTION_DROPOUT, LOG_EVERY, VIEWS, encode_views
from eval.asset_recipes.multilingual import AltDenoiser, alt_pipeline, find_roberta_tokenizer, match_features
from eval.asset_recipes.text_encoder import token_ids
from eval.asset_recipes.training import Training

BATCH = 32
SAVE_EVERY = 20
V_PREDICTION, ALT = "mini-v", "mini-alt"  # names of the folders
LEARNING_RATE = 1e-3


@dataclass(frozen=True, eq=False)
class Captioned:
    """Latents of pictures in VIEWS crops, and what their captions become."""

    z: Tensor  # n VIEWS c h w
    ids: tuple[Tensor, ...]  # each n LENGTH: token ids, and a mask where the encoder takes one
    blank: tuple[Tensor, ...]  # the same of the empty caption, each 1 LENGTH

    def rows(self, which: Tensor) -> "Captioned":
        """The pictures `which`: indices, or a mask."""
        return Captioned(self.z[which], tuple(i[which] for i in self.ids), self.blank)


def run(o: argparse.Namespace) -> None:
    """Run the command."""
    torch.set_num_threads(1)
    made = {
        V_PREDICTION: make_v_prediction(o.base, o.pictures, o.openclipart, o.work, steps=o.v_steps),
        ALT: make_alt_diffusion(o.base, o.pictures, o.openclipart, o.work, steps=o.alt_steps),
    }
    o.out.mkdir(parents=True, exist_ok=True)
    write_atomically(o.out / "stand-ins.json", json.dumps(made, indent=1) + "\n")


def make_v_prediction(
    base: Path, pictures: Path, openclipart: Path | None, work: Path, *, steps: int
) -> dict[str, Any]:
    """SD 2.x's kind: the network predicts v, projects by linear layers, and its text encoder has open_clip's GELU."""
    if (held := _made(work / V_PREDICTION)) is not None:
        return held
    pipe: Any = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32)
    corpus, latents = _corpus(pipe, pictures, openclipart, work)
    unet = with_linear_projections(pipe.unet)
    text = CLIPTextModel(_changed(pipe.text_encoder.config, hidden_act="gelu"))
    text.load_state_dict(pipe.text_encoder.state_dict())
    denoiser = _Denoiser(unet, text)
    ids, blank = (token_ids(pipe.tokenizer, captions) for captions in (corpus.captions, [""]))
    data = Captioned(latents, (ids,), (blank,))
    held_out = _train(denoiser, data, corpus, pipe.scheduler, work / f"{V_PREDICTION}-training", steps, v=True)
    pipe.unet, pipe.text_encoder = unet, text
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="v_prediction")
    return _publish(pipe, work / V_PREDICTION, {"steps": steps, **held_out})


def make_alt_diffusion(
    base: Path, pictures: Path, openclipart: Path | None, work: Path, *, steps: int
) -> dict[str, Any]:
    """AltDiffusion's kind: another text encoder learns the first one's features, then the layers that read them."""
    if (held := _made(work / ALT)) is not None:
        return held
    pipe: Any = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32)
    corpus, latents = _corpus(pipe, pictures, openclipart, work)
    tokenizer = find_roberta_tokenizer(corpus.captions, work)
    torch.manual_seed(0)  # only the initial weights draw from it
    denoiser = AltDenoiser(pipe.unet, tokenizer)
    tokens, empty = (
        tokenizer(c, padding="max_length", truncation=True, return_tensors="pt") for c in (corpus.captions, [""])
    )
    data = Captioned(latents, (tokens.input_ids, tokens.attention_mask), (empty.input_ids, empty.attention_mask))
    teacher = token_ids(pipe.tokenizer, corpus.captions)
    matched = match_features(denoiser.text_encoder, pipe.text_encoder, data.ids, teacher, work / f"{ALT}-matching")
    held_out = _train(denoiser, data, corpus, pipe.scheduler, work / f"{ALT}-training", steps, v=False)
    made = alt_pipeline(pipe, denoiser, tokenizer)
    return _publish(made, work / ALT, {"steps": steps, "matching": matched, **held_out})


def with_linear_projections(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same network with SD 2.x's linear layers in place of convolutions of one pixel: the function is the same."""
    config: Any = dict(unet.config)
    heads = [config["attention_head_dim"]] * len(config["block_out_channels"])  # SD 2.x states them by level
    linear: Any = UNet2DConditionModel.from_config(
        config | {"use_linear_projection": True, "attention_head_dim": heads}
    )
    shapes = {name: value.shape for name, value in linear.state_dict().items()}
    linear.load_state_dict({name: value.reshape(shapes[name]) for name, value in unet.state_dict().items()})
    return linear


class _Denoiser(nn.Module):
    """UNet and CLIP text encoder, trained together."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, z_t: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        """Predict under prompts of token ids."""
        unet: Any = self.unet
        return unet(z_t, t, encoder_hidden_states=self.text_encoder(ids)[0]).sample


def _train(
    denoiser: nn.Module, data: Captioned, corpus: Corpus, scheduler: Any, folder: Path, steps: int, *, v: bool
) -> dict[str, float]:
    """Train; the held-out losses are those of one fixed draw under right captions, those of other pictures, none."""
    noise = DDPMScheduler.from_config(scheduler.config)
    held_out = torch.as_tensor(corpus.held_out)
    learnt, test = data.rows(~held_out), data.rows(held_out)
    trained = nn.ParameterList([p for p in denoiser.parameters() if p.requires_grad])
    training = Training(folder, trained, steps=steps, learning_rate=LEARNING_RATE)
    loss = partial(_loss, denoiser, noise, v)

    def measured() -> dict[str, float]:
        rows = torch.arange(len(test.z))
        orders = {"right": test.ids, "wrong": tuple(i.roll(len(rows) // 3, 0) for i in test.ids)}
        orders["blank"] = tuple(b.expand(len(rows), -1) for b in test.blank)
        with training.averaged(), torch.no_grad():
            denoiser.eval()
            return {
                name: loss(test.z[:, 0].float(), ids, torch.Generator().manual_seed(1)).item()
                for name, ids in orders.items()
            }

    denoiser.train()
    for value in training.run(lambda generator: loss(*_draw(learnt, generator), generator)):
        if training.step % LOG_EVERY == 0:
            training.log(value, measured()["right"])
            denoiser.train()
        if training.step % SAVE_EVERY == 0 or training.step == steps:
            training.save()
    found = measured()
    training.ema.copy_to(trained.parameters())
    denoiser.eval()
    return {f"held-out loss, {name} captions": round(x, 5) for name, x in found.items()}


def _loss(
    denoiser: nn.Module, noise: Any, v: bool, z: Tensor, ids: tuple[Tensor, ...], generator: torch.Generator
) -> Tensor:
    t = torch.randint(noise.config.num_train_timesteps, (len(z),), generator=generator)
    eps = torch.randn(z.shape, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = denoiser(noise.add_noise(z, eps, t), t, *ids)
    return F.mse_loss(predicted.float(), noise.get_velocity(z, eps, t) if v else eps)


def _draw(data: Captioned, generator: torch.Generator) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Any picture, any crop, one caption in ten left out."""
    rows, views = (torch.randint(n, (BATCH,), generator=generator) for n in (len(data.z), VIEWS))
    dropped = (torch.rand(BATCH, generator=generator) < CAPTION_DROPOUT)[:, None]
    ids = tuple(torch.where(dropped, b, i[rows]) for b, i in zip(data.blank, data.ids, strict=True))
    return data.z[rows, views].float(), ids


def _corpus(pipe: Any, pictures: Path, openclipart: Path | None, work: Path) -> tuple[Corpus, Tensor]:
    held = (work / "corpus.npz").exists()
    corpus = load_corpus(work) if held else build_corpus(pictures, openclipart, work)
    return corpus, encode_views(pipe.vae, corpus, work, half=True)


def _changed(config: Any, **changes: Any) -> Any:
    return type(config).from_dict(config.to_dict() | changes)


def _made(folder: Path) -> dict[str, Any] | None:
    record = folder / "stand-in.json"
    return json.loads(record.read_text()) if record.exists() else None


def _publish(pipe: Any, folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Write the pipeline in half precision, and last of all its record, without which it is made again."""
    pipe.to(dtype=torch.float16).save_pretrained(folder)
    files = {f.relative_to(folder).as_posix(): f for f in sorted(folder.rglob("*.safetensors"))}
    digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    record = {"seed": 0, "batch": BATCH, **about, "sha256": digests}
    write_atomically(folder / "stand-in.json", json.dumps(record, indent=1) + "\n")
    return record
