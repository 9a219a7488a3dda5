"""The record of a training: logs, curves and a sheet, made from what the training left behind."""

import numpy as np
from PIL import Image

from eval.asset_recipes.training_figures import LOGS, PROMPTS, document_training
from tests.support import tiny


def test_a_training_leaves_its_whole_record(tmp_path):
    work, model = tmp_path / "work", tmp_path / "model"
    tiny.stable_diffusion().save_pretrained(model)
    for part in LOGS:
        (work / part).mkdir(parents=True)
        (work / part / "loss.csv").write_text("step,seconds,held_out\n250,1,0.5\n500,2,0.4\n")
    (work / "SOURCES.csv").write_text("file,author,caption,licence\n")
    blocks = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
    pictures = blocks.repeat(16, axis=1).repeat(16, axis=2)
    document_training(work, pictures, model)
    names = {p.name for p in (model / "training").iterdir()}
    assert names == {"SOURCES.csv", "autoencoder.csv", "denoiser.csv", "losses.png", "sheet.jpg"}
    with Image.open(model / "training" / "sheet.jpg") as sheet:
        assert sheet.size == (64 * len(PROMPTS), 64 * 4)
        shown = np.asarray(sheet).astype(int)
    given = np.concatenate(list(pictures[: len(PROMPTS)]), axis=1).astype(int)
    assert np.abs(shown[:64] - given).mean() < 10 < np.abs(shown[64:128] - given).mean()  # a JPEG; an untrained codec
