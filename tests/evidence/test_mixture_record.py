"""Evidence about a suspect at a scale with another adapter on both sides: it can be run again, and forgeries show."""

import dataclasses
import json

import pytest
from safetensors.torch import save_file

from cgidm.conductor import authenticate
from cgidm.errors import UserError
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.bundle_writer import write_evidence
from cgidm.evidence.recompute import recompute
from cgidm.evidence.record import ModelsRecord, read_record, record_bytes
from cgidm.evidence.record_json import to_json
from cgidm.evidence.reruns import rerun
from cgidm.evidence.reruns.rerun import RerunOptions, repeat
from cgidm.evidence.seal import RECORD, bundle_record
from cgidm.families import load_pair
from cgidm.pictures.embedders import Embedders
from cgidm.pictures.images import read_picture
from tests.support.adapters import kohya, weights
from tests.support.errors import refuses
from tests.support.forgeries import CONFIG, PICTURES, AlteredBundle, make_models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle, and the folder of its models."""
    folder, out = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("evidence")
    make_models(folder)
    for name, rank in (("second", 3), ("third", 1)):
        save_file(kohya(weights(folder / "base", rank)[0]), folder / f"{name}.safetensors")
    suspect, other = folder / "suspect.safetensors", folder / "second.safetensors"
    pair = load_pair(str(folder / "base"), f"{suspect}@0.5", "a b", also=[f"{other}@0.8"])
    config = dataclasses.replace(CONFIG, lineup=None, mirror_draws=0, mirrored_recovery=False)
    result = authenticate(pair, [read_picture(folder / next(iter(PICTURES)), pair.framing)], config=config)
    write_evidence(result, out, ModelsRecord(base=str(folder / "base"), suspect=str(suspect), prompt="a b"))
    return out, folder


@pytest.fixture(autouse=True)
def no_embedders(monkeypatch):
    monkeypatch.setattr(rerun, "load_embedders", lambda *_, **__: Embedders())


def forged(bundle, **models):
    record = bundle_record(bundle)
    data = record_bytes(dataclasses.replace(record, models=dataclasses.replace(record.models, **models)))
    return AlteredBundle(bundle, {RECORD: data}), read_record(data, "forged")


def test_it_follows_from_its_scores_and_comes_out_the_same_again(made):
    out = made[0]
    with open_bundle(out) as bundle:
        record = bundle_record(bundle)
        (other,) = record.models.others
        assert (record.models.suspect_scale, other.scale) == (
            0.5,
            0.8,
        ) and other.sha256 in record.models.sha256.values()
        assert recompute(bundle, record).agrees and repeat(bundle, RerunOptions()).agrees
        text = (out / "report.html").read_text()
        assert "Scale of the suspect" in text and other.sha256 in text and "further adapters" in text


@pytest.mark.parametrize("scale", [{"suspect_scale": 0.8}, {"others": 0.5}], ids=["of the suspect", "of the other"])
def test_another_scale_gives_other_scores(made, scale):
    with open_bundle(made[0]) as bundle:
        (other,) = bundle_record(bundle).models.others
        if "others" in scale:
            scale = {"others": (dataclasses.replace(other, scale=0.5),)}
        altered, _ = forged(bundle, **scale)
        assert not repeat(altered, RerunOptions()).agrees


def test_an_adapter_that_is_left_out_or_exchanged_is_found(made):
    out, folder = made
    with open_bundle(out) as bundle:
        (other,) = bundle_record(bundle).models.others
        without, _ = forged(bundle, others=())
        with refuses("evidence.missing_weights"):
            repeat(without, RerunOptions())
        altered, record = forged(bundle, others=(dataclasses.replace(other, sha256="0" * 64),))
        assert [d.path for d in recompute(altered, record).differences] == ["models.others[0].sha256"]
        with refuses("evidence.other_weights"):
            repeat(bundle, RerunOptions(also=[str(folder / "third.safetensors")]))
        with refuses("evidence.number_of_others", expected=1, given=2):
            repeat(bundle, RerunOptions(also=["a", "b"]))


@pytest.mark.parametrize("number", [0.0, 0.50001, 1000.0, float("nan")])
def test_what_is_no_scale_is_found(made, number):
    with open_bundle(made[0]) as bundle:
        (other,) = bundle_record(bundle).models.others
        altered, record = forged(bundle, suspect_scale=number, others=(dataclasses.replace(other, scale=number),))
        paths = [d.path for d in recompute(altered, record).differences]
        assert paths[-2:] == ["models.others[0].scale", "models.suspect_scale"]


OTHER = {"name": "other", "scale": 0.5, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("part", "value"), [("suspect_scale", 0.5), ("others", [OTHER]), ("as_loaded", True)], ids=lambda v: str(v)
)
def test_an_older_record_cannot_hold_a_mixture(made, part, value):
    """Else a forger states an older format, of which less is checked."""
    record = read_record((made[0] / RECORD).read_bytes(), "record")
    table = to_json(record, 4)
    assert read_record(json.dumps(table | {"format": 4}).encode(), "older").models.others == ()
    table["models"][part] = value
    with pytest.raises(UserError) as caught:
        read_record(json.dumps(table | {"format": 4}).encode(), "forged")
    assert caught.value.code == "evidence.damaged_record" and part in caught.value.params["problem"]
