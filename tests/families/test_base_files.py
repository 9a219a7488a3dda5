"""A base in one file: its own weights, with the configuration and tokenizers of a folder of its family."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from cgidm import UserError
from cgidm.families import load_pair
from cgidm.intake.family import lend_configuration
from cgidm.intake.layout import open_checkpoint
from tests.support import tiny, tiny_families
from tests.support.adapter_files import save
from tests.support.errors import refuses
from tests.support.single_files import nai_names, single_file, vae_names

FAMILIES = {
    "SD 1.x": tiny.stable_diffusion,
    "SD 2.x": lambda: tiny_families.stable_diffusion_2("epsilon"),
    "SDXL": tiny_families.stable_diffusion_xl,
}
NETWORKS = ("unet", "text_encoder", "text_encoder_2", "vae")


def as_one_file(pipeline):
    state = {k: v for k, v in single_file(pipeline).items() if not k.startswith(("first_stage_model.", "model_ema."))}
    return state | vae_names(pipeline.vae)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of each family: the folder that lends (other weights), the base as a folder and as a file, and a fine-tune."""
    folder = tmp_path_factory.mktemp("files")
    for name, make in FAMILIES.items():
        make().save_pretrained(folder / name / "lender")
        base = make()
        for part in NETWORKS:
            if getattr(base, part, None) is not None:
                tiny.perturbed(getattr(base, part), seed=7)
        base.save_pretrained(folder / name / "base")
        save(folder / name / "base.safetensors", as_one_file(base))
        for part in NETWORKS[:2]:
            tiny.perturbed(getattr(base, part))
        base.save_pretrained(folder / name / "tuned")
        save(folder / name / "tuned.safetensors", single_file(base))
    return folder


def answers(pair):
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    pictures = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        return [
            pair.codec.encode(pictures),
            *(m.predict_eps(x, torch.tensor([300])) for m in (pair.base, pair.suspect)),
        ]


@pytest.mark.parametrize("suspect", ["tuned", "tuned.safetensors"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_in_one_file_answers_as_its_folder(folders, family, suspect):
    one, other = (
        load_pair(str(folders / family / base), str(folders / family / suspect), "a b", configuration=lender)
        for base, lender in (("base.safetensors", str(folders / family / "lender")), ("base", None))
    )
    for a, b in zip(answers(one), answers(other), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-6)
    assert (one.base.prediction, one.resolution) == (other.base.prediction, other.resolution)


def test_an_old_text_encoder_s_names_are_read_in_a_base_too(folders, tmp_path):
    state = load_file(folders / "SD 1.x" / "base.safetensors")
    save(tmp_path / "nai.safetensors", nai_names(state))
    lender, suspect = (str(folders / "SD 1.x" / name) for name in ("lender", "tuned"))
    one = load_pair(str(tmp_path / "nai.safetensors"), suspect, "a b", configuration=lender)
    other = load_pair(str(folders / "SD 1.x" / "base"), suspect, "a b")
    torch.testing.assert_close(answers(one)[1], answers(other)[1], rtol=0, atol=5e-6)


def test_a_marker_makes_the_base_predict_v_with_its_own_noise(folders, tmp_path):
    state = load_file(folders / "SDXL" / "base.safetensors")
    save(tmp_path / "base.safetensors", state | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)})
    pair = load_pair(
        str(tmp_path / "base.safetensors"),
        str(folders / "SDXL" / "tuned.safetensors"),
        "a b",
        configuration=str(folders / "SDXL" / "lender"),
    )
    assert pair.base.prediction == "v" and pair.schedule.alpha[-1] < 1e-3


def test_a_base_of_edm_s_noise_is_refused(folders, tmp_path):
    state = load_file(folders / "SDXL" / "base.safetensors")
    save(tmp_path / "base.safetensors", state | {"edm_mean": torch.zeros(4), "edm_std": torch.ones(4)})
    lender, suspect = (str(folders / "SDXL" / name) for name in ("lender", "tuned"))
    with refuses("families.edm_noise"):
        load_pair(str(tmp_path / "base.safetensors"), suspect, "a b", configuration=lender)


@pytest.mark.parametrize(
    ("lost", "component"),
    [("first_stage_model.", "vae"), ("cond_stage_model.", "text_encoder")],
)
def test_a_base_file_that_lacks_a_part_is_refused(folders, tmp_path, lost, component):
    state = load_file(folders / "SD 1.x" / "base.safetensors")
    save_file({k: v for k, v in state.items() if not k.startswith(lost)}, tmp_path / "base.safetensors")
    with refuses("families.base_file_incomplete", component=component):
        load_pair(
            str(tmp_path / "base.safetensors"),
            str(folders / "SD 1.x" / "tuned"),
            "a b",
            configuration=str(folders / "SD 1.x" / "lender"),
        )


def test_what_lends_must_be_a_folder_of_the_family(folders):
    file, suspect = str(folders / "SD 1.x" / "base.safetensors"), str(folders / "SD 1.x" / "tuned")
    with refuses("intake.base_config_needed"):  # these tiny networks are of no family that shapes tell
        load_pair(file, suspect, "a b")
    with refuses("intake.base_config_kind", given="single file"):
        load_pair(file, suspect, "a b", configuration=file)
    with refuses("families.base_file_incomplete", component="text_encoder_2"):
        load_pair(file, suspect, "a b", configuration=str(folders / "SDXL" / "lender"))
    with pytest.raises(UserError) as error:
        load_pair(
            str(folders / "SDXL" / "base.safetensors"), suspect, "a b", configuration=str(folders / "SD 1.x" / "base")
        )
    assert error.value.code in ("families.cannot_be_loaded", "families.contents_differ")


def test_only_a_base_in_one_file_is_lent_a_configuration(folders):
    base = open_checkpoint(str(folders / "SD 1.x" / "base"))
    assert lend_configuration(base, "no such folder") is base
