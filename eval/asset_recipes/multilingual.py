"""A small text encoder of AltDiffusion's kind: XLM-R's classes, taught by the first encoder (Chen et al. 2022).

As there, the encoder first learns the teacher's features of captions. Then it and the UNet's keys and values, the
layers that read them, learn to denoise; every other weight of the UNet stays.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.pipelines.deprecated.alt_diffusion import AltDiffusionPipeline, RobertaSeriesModelWithTransformation
from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import RobertaSeriesConfig
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer
from torch import Tensor, nn
from transformers import XLMRobertaTokenizer

from eval.asset_recipes.text_encoder import LENGTH, WIDTH
from eval.asset_recipes.training import Training

VOCABULARY = 1024
HIDDEN = 96  # width of the encoder; its projection has the teacher's
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # in XLM-R's order
MATCHING_STEPS, MATCHING_BATCH = 1000, 128


def find_roberta_tokenizer(captions: Sequence[str], work: Path) -> XLMRobertaTokenizer:
    """XLM-R's unigrams, learnt from `captions` and kept in `work`: learnt anew they would differ."""
    kept = work / "roberta-tokenizer"
    if not kept.exists():
        _train_tokenizer(captions).save_pretrained(kept)
    return XLMRobertaTokenizer.from_pretrained(kept)


def _train_tokenizer(captions: Sequence[str]) -> XLMRobertaTokenizer:
    tokenizer = Tokenizer(Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always", split=True)]
    )
    trainer = UnigramTrainer(
        vocab_size=VOCABULARY - 1,
        special_tokens=list(SPECIAL),
        unk_token=SPECIAL[3],
        initial_alphabet=sorted({c for caption in captions for c in caption if c.isascii() and c.isalnum()}),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(captions)), trainer)
    pieces: Any = [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    return XLMRobertaTokenizer(vocab=[*pieces, ("<mask>", 0.0)], model_max_length=LENGTH)


class AltDenoiser(nn.Module):
    """The UNet with the new text encoder; keys and values of cross-attention learn, the rest of the UNet stays."""

    def __init__(self, unet: Any, tokenizer: XLMRobertaTokenizer) -> None:
        super().__init__()
        self.unet = unet.requires_grad_(False)
        for name, module in unet.named_modules():
            if name.endswith(("attn2.to_k", "attn2.to_v")):
                module.requires_grad_(True)
        config: Any = RobertaSeriesConfig(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN,
            intermediate_size=2 * HIDDEN,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH + 2,  # positions begin behind the padding's
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            project_dim=WIDTH,
        )
        self.text_encoder = RobertaSeriesModelWithTransformation(config)
        self.text_encoder.roberta.pooler.requires_grad_(False)  # it is not read

    def forward(self, z_t: Tensor, t: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Predict the noise under prompts of token ids."""
        text = self.text_encoder(ids, attention_mask=mask)[0]
        return self.unet(z_t, t, encoder_hidden_states=text).sample


def match_features(
    student: Any, teacher: Any, ids: tuple[Tensor, ...], teacher_ids: Tensor, folder: Path
) -> dict[str, float]:
    """Teach the student the teacher's features of captions, in the mean over tokens, whose borders differ.

    Returns:
        The number of steps, and the squared error left, as a share of the teacher's variance over captions.
    """
    with torch.no_grad():
        parts = teacher_ids.split(256)
        target = torch.cat([teacher(part)[0].mean(1) for part in parts])
    learning = nn.ParameterList([p for p in student.parameters() if p.requires_grad])
    training = Training(folder, learning, steps=MATCHING_STEPS, learning_rate=1e-3)

    def features(rows: Tensor) -> Tensor:
        return student(ids[0][rows], attention_mask=ids[1][rows])[0].mean(1)

    def loss(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(target), (MATCHING_BATCH,), generator=generator)
        return F.mse_loss(features(rows), target[rows])

    for _ in training.run(loss):
        if training.step == MATCHING_STEPS:
            training.save()
    training.ema.copy_to(learning.parameters())
    with torch.no_grad():
        rows = torch.arange(min(1024, len(target)))
        left = F.mse_loss(features(rows), target[rows]) / target[rows].var(0).mean()
    return {"steps": MATCHING_STEPS, "error left": round(left.item(), 4)}


def alt_pipeline(pipe: Any, denoiser: AltDenoiser, tokenizer: XLMRobertaTokenizer) -> AltDiffusionPipeline:
    """The first pipeline's autoencoder and schedule with the new text encoder."""
    parts: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return AltDiffusionPipeline(
        vae=pipe.vae,
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        scheduler=pipe.scheduler,
        **parts,
    )
