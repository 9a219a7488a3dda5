"""A model in one file, in the layout of Stability's own code: loaded whole, or refused."""

import json

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from cgidm import UserError
from cgidm.families import load_pair
from cgidm.families.kinds.alt_diffusion import load_alt_diffusion
from cgidm.families.single_file import load_single_file
from cgidm.framing.kohya import Kohya
from cgidm.framing.one_trainer import OneTrainer
from cgidm.intake.layout import open_checkpoint
from tests.support import tiny, tiny_families
from tests.support.errors import refuses
from tests.support.single_files import clip_names, single_file, unet_names

FILE = "tuned.safetensors"


FAMILIES = {
    "1": tiny.stable_diffusion,
    "2": tiny_families.stable_diffusion_2,
    "xl": tiny_families.stable_diffusion_xl,
    "alt": tiny_families.alt_diffusion,
    "xl-equal-widths": lambda: tiny_families.stable_diffusion_xl(widths=(8, 8)),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    for family, make in FAMILIES.items():
        make().save_pretrained(folder / family / "base")
        tuned = make()
        for name in ("unet", "text_encoder", "text_encoder_2"):
            if hasattr(tuned, name):
                tiny.perturbed(getattr(tuned, name))
        tuned.save_pretrained(folder / family / "tuned")
        save_file(single_file(tuned) if family != "alt" else unet_names(tuned.unet), folder / family / FILE)
    save_file(single_file(tiny.stable_diffusion(width=8)), folder / "1" / "wide.safetensors")
    return folder


@pytest.fixture(scope="module")
def bases(folders):
    known = FAMILIES.keys() - {"alt"}
    loaded = {family: DiffusionPipeline.from_pretrained(folders / family / "base") for family in known}
    return {**loaded, "alt": load_alt_diffusion(folders / "alt" / "base", torch.float32)}


@pytest.fixture
def load(folders, bases):
    """What `load_pair` does with one file, with the base at hand."""

    def load(family, file):
        checkpoint = open_checkpoint(str(file))
        return load_single_file(checkpoint, bases[family], str(folders / family / "base"), torch.float32)

    return load


def answer(pair):
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return pair.suspect.predict_eps(x, torch.tensor([300]))


@pytest.mark.parametrize(
    ("header", "framing"),
    [
        ({"ot_config": json.dumps({"model_type": "STABLE_DIFFUSION_15", "resolution": "64"})}, OneTrainer),
        ({"modelspec.resolution": "512x512", "modelspec.title": "tuned"}, None),
    ],
    ids=["OneTrainer", "kohya"],
)
def test_a_full_checkpoint_is_framed_as_its_header_notes(folders, tmp_path, header, framing):
    """OneTrainer notes its settings in full checkpoints, too. kohya's scripts note buckets in adapters alone."""
    folder = folders / "1"
    save_file(load_file(folder / FILE), tmp_path / FILE, header)
    pair = pair_of(folder, tmp_path / FILE)
    assert pair.is_full_network and pair.framing_is_guessed == (framing is None)
    assert isinstance(pair.framing, framing or Kohya)
    if framing is not None:
        assert (pair.framing.resolution, pair.framing.step) == (64, 8)


def pair_of(folder, suspect, dtype=torch.float32):
    return load_pair(str(folder / "base"), str(suspect), "a b", dtype=dtype)


def assert_same_answer(one, folder):
    """All but bit for bit: where a file's tensors begin in memory shows in the last bits of a product on a CPU."""
    torch.testing.assert_close(answer(one), answer(folder), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("family", "dtype"), [("1", torch.float32), ("2", torch.float32), ("xl", torch.float32), ("xl", torch.bfloat16)]
)
def test_every_weight_in_use_is_the_folder_s(folders, family, dtype):
    folder = folders / family
    checkpoint = open_checkpoint(str(folder / FILE))
    base, tuned = (DiffusionPipeline.from_pretrained(folder / name, dtype=dtype) for name in ("base", "tuned"))
    one = load_single_file(checkpoint, base, str(folder / "base"), dtype)
    assert type(one) is type(base) and one.vae is base.vae and one.scheduler is base.scheduler
    for name in ("unet", "text_encoder", "text_encoder_2"):
        if hasattr(base, name):
            ours, theirs = (getattr(p, name).state_dict() for p in (one, tuned))
            assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in theirs)


@pytest.mark.parametrize("family", ["1", "2", "xl"])
def test_it_computes_what_the_folder_computes(folders, family):
    one = pair_of(folders / family, folders / family / FILE)
    assert_same_answer(one, pair_of(folders / family, folders / family / "tuned"))
    assert len(one.networks) == 2 and any(name.endswith(FILE) for name in one.fingerprints)


@pytest.mark.parametrize("family", ["1", "xl"])
def test_without_a_text_encoder_the_base_s_is_used(folders, tmp_path, family):
    text = ("cond_stage_model.", "conditioner.")
    state = {k: v for k, v in load_file(folders / family / FILE).items() if not k.startswith(text)}
    save_file(state, tmp_path / "unet.safetensors")
    tuned = FAMILIES[family]()
    tiny.perturbed(tuned.unet)
    tuned.save_pretrained(tmp_path / "unet")
    assert_same_answer(*(pair_of(folders / family, tmp_path / name) for name in ("unet.safetensors", "unet")))


UNET = "model.diffusion_model.input_blocks.3.1.transformer_blocks.0.ff.net.2.weight"
FIRST = "transformer.text_model.embeddings.token_embedding.weight"
SECOND = "model.transformer.resblocks.1.attn.in_proj_weight"
TEXT = {  # a tensor of each text encoder
    "1": (f"cond_stage_model.{FIRST}",),
    "2": (f"cond_stage_model.{SECOND}",),
    "xl": (
        f"conditioner.embedders.0.{FIRST}",
        f"conditioner.embedders.1.{SECOND}",
        "conditioner.embedders.1.model.positional_embedding",
    ),
}
LABEL = "model.diffusion_model.label_emb.0.0.weight"  # SDXL's only
PROJECTION = "conditioner.embedders.1.model.text_projection"
PLACES = [*((f, UNET) for f in TEXT), ("xl", LABEL), *((f, key) for f, keys in TEXT.items() for key in keys)]
CHANGES = {
    "lost": lambda s, k: s.pop(k),
    "renamed": lambda s, k: s.update({f"{k}_renamed": s.pop(k)}),
    "turned": lambda s, k: s.update({k: s[k].transpose(0, 1).contiguous()}),
    "cut": lambda s, k: s.update({k: s[k][:-1].clone()}),
    "stray": lambda s, k: s.update({f"{k.rsplit('.', 2)[0]}.stray.weight": s[k] + 1}),
}
THOROUGHLY = [("1", UNET), ("2", TEXT["2"][0]), ("xl", TEXT["xl"][1])]
CASES = [(*place, change) for place in PLACES for change in (CHANGES if place in THOROUGHLY else ("lost", "stray"))]


OTHER_MODEL = {"families.file_does_not_fit", "families.contents_differ", "families.text_width"}


@pytest.mark.parametrize(("family", "key", "change"), CASES)
def test_a_file_that_is_not_whole_is_refused(folders, load, tmp_path, family, key, change):
    state = load_file(folders / family / FILE)
    CHANGES[change](state, key)
    save_file(state, tmp_path / "changed.safetensors")
    with pytest.raises(UserError) as error:
        load(family, tmp_path / "changed.safetensors")
    assert error.value.code in OTHER_MODEL and "\n" not in str(error.value)


@pytest.mark.parametrize("change", ["lost", "renamed", "cut"])
def test_sdxl_needs_its_projection(folders, load, tmp_path, change):
    state = load_file(folders / "xl" / FILE)
    CHANGES[change](state, PROJECTION)
    save_file(state, tmp_path / "changed.safetensors")
    with pytest.raises(UserError) as error:
        load("xl", tmp_path / "changed.safetensors")
    assert error.value.code in OTHER_MODEL


def test_tensors_of_no_known_use_are_refused(folders, load, tmp_path):
    state = load_file(folders / "1" / FILE)
    save_file({**state, "control_model.x": torch.zeros(1)}, tmp_path / "stray.safetensors")
    with refuses("families.unknown_tensors", count=1):
        load("1", tmp_path / "stray.safetensors")


@pytest.mark.parametrize(
    ("base", "suspect"),
    [("1", "1/wide"), ("1", "2/tuned"), ("2", "1/tuned"), ("1", "xl/tuned"), ("xl", "1/tuned"), ("xl", "2/tuned")],
)
def test_a_file_of_another_kind_is_refused(folders, load, base, suspect):
    with pytest.raises(UserError) as error:
        load(base, folders / f"{suspect}.safetensors")
    assert error.value.code in OTHER_MODEL and "\n" not in str(error.value)


def test_alt_diffusion_takes_a_unet_and_no_text_encoder_from_one_file(folders, load, tmp_path):
    """Nothing in diffusers converts its text encoder."""
    state = load_file(folders / "alt" / FILE)
    tuned = tiny.perturbed(FAMILIES["alt"]().unet).state_dict()
    assert all(torch.equal(v, tuned[k]) for k, v in load("alt", folders / "alt" / FILE).unet.state_dict().items())
    text = clip_names(tiny.stable_diffusion().text_encoder, "cond_stage_model")
    save_file(state | text, tmp_path / "text.safetensors")
    with pytest.raises(UserError) as error:
        load("alt", tmp_path / "text.safetensors")
    assert error.value.code in OTHER_MODEL


def test_the_text_encoders_of_sdxl_are_not_confused(folders, load):
    """diffusers tells them apart by their width alone; where that is equal it takes the first for both."""
    with pytest.raises(UserError, match="text_encoder_2"):
        load("xl-equal-widths", folders / "xl-equal-widths" / FILE)


def test_sdxl_s_projection_is_in_use(folders, load, tmp_path):
    """Its second text encoder's; the library turns it, and turns it back where it is saved: see `open_clip_names`."""
    state = load_file(folders / "xl" / FILE)
    state["conditioner.embedders.1.model.text_projection"] += 1
    save_file(state, tmp_path / "other.safetensors")
    before, after = (load("xl", p) for p in (folders / "xl" / FILE, tmp_path / "other.safetensors"))
    weights = [p.text_encoder_2.text_projection.weight for p in (before, after)]
    assert torch.equal(weights[0] + 1, weights[1])


def test_sd_2_needs_neither_its_projection_nor_its_last_layer(folders, load, tmp_path):
    state = load_file(folders / "2" / FILE)
    spare = [k for k in state if k.startswith("cond_stage_model.model.transformer.resblocks.2.")]
    assert len(spare) == 12
    for key in (*spare, "cond_stage_model.model.text_projection", "cond_stage_model.model.logit_scale"):
        del state[key]
    save_file(state, tmp_path / "less.safetensors")
    ours, theirs = (load("2", p) for p in (tmp_path / "less.safetensors", folders / "2" / FILE))
    assert all(
        torch.equal(a, b)
        for a, b in zip(ours.text_encoder.state_dict().values(), theirs.text_encoder.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("make", [tiny.pixel_ddpm, tiny_families.stable_diffusion_3])
def test_a_base_without_such_files_refuses_them(folders, make):
    checkpoint = open_checkpoint(str(folders / "1" / FILE))
    with refuses("families.base_without_single_files"):
        load_single_file(checkpoint, make(), "", torch.float32)
