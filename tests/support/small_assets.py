"""What ships, with tiny random networks in place of the trained ones: for tests of all that happens around a run."""

from pathlib import Path

from cgidm.resources import BASE_NAME
from tests.support import tiny
from tests.support.adapter_formats import saved_by_diffusers
from tests.support.paths import ASSETS, SUSPECTS

LONGEST = 16  # letters and marks of a prompt: "sks style" has ten
SIDE = 16  # of the latent picture, as of the shipped base: 128 pixels


def write_small_assets(folder: Path) -> Path:
    """Fill `folder`, which is to be named by CGIDM_ASSETS; pictures, answers and embedder are those that ship."""
    for path in ASSETS.iterdir():
        if path.name not in (BASE_NAME, "examples"):
            (folder / path.name).symlink_to(path)
    base().save_pretrained(folder / BASE_NAME)
    for suspect, write in zip(SUSPECTS, (write_dreambooth, saved_by_diffusers), strict=True):
        example = folder / "examples" / suspect
        example.mkdir(parents=True)
        for path in (ASSETS / "examples" / suspect).iterdir():
            if path.name != "checkpoint":
                (example / path.name).symlink_to(path)
        write(example / "checkpoint", base())
    return folder


def base():
    pipeline = tiny.stable_diffusion(longest=LONGEST)
    pipeline.unet.register_to_config(sample_size=SIDE)
    return pipeline


def write_dreambooth(folder: Path, pipeline) -> None:
    """As the shipped one lies: the network in two files, beside it the text encoder."""
    tiny.perturbed(pipeline.unet).save_pretrained(folder / "unet", max_shard_size="50KB")
    pipeline.text_encoder.save_pretrained(folder / "text_encoder")
    shards = [path.name for path in (folder / "unet").glob("*.safetensors")]
    assert len(shards) == 2, shards
