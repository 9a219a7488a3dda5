"""A picture that its painter marks: what is written is read back, pixels stay, an edit does not hide it."""

import io

import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from PIL import Image

from cgidm.cli import main
from cgidm.pictures.credentials import credential_notes
from cgidm.pictures.marking import TRAINING_USES, USES, mark_picture
from tests.support.errors import refuses
from tests.support.painters import painter, picture, private_pem


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("painter")
    for curve in (ec.SECP256R1, ec.SECP384R1):
        chain, key = painter(curve)
        (place / f"{curve.name}-chain.pem").write_bytes(chain)
        (place / f"{curve.name}-key.pem").write_bytes(key)
    for kind in ("PNG", "JPEG", "WEBP", "BMP"):
        (place / f"work.{kind.lower()}").write_bytes(picture(kind))
    return place


def files_of(place, curve=ec.SECP256R1):
    return {"certificates": place / f"{curve.name}-chain.pem", "key": place / f"{curve.name}-key.pem"}


def codes(path, kind):
    return [
        (n.code.removeprefix("pictures.credentials_"), dict(n.params))
        for n in credential_notes(path.read_bytes(), kind)
    ]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1])
def test_what_is_marked_is_read_back_and_the_pixels_stay(place, kind, curve, tmp_path):
    work, out = place / f"work.{kind.lower()}", tmp_path / "marked"
    mark_picture(work, out, **files_of(place, curve), author="Ann")
    found = codes(out, kind)
    assert ("valid", {}) in found and ("signer", {"names": ["Painter", "Studio"]}) in found
    assert ("forbid", {"uses": ["ai generative training", "ai training"]}) in [
        (code, {"uses": sorted(params["uses"])} if code == "forbid" else params) for code, params in found
    ]
    before, after = (np.asarray(Image.open(path)) for path in (work, out))
    assert np.array_equal(before, after)


def test_the_entries_are_those_of_cawg_and_each_states_its_use(place, tmp_path):
    mark_picture(place / "work.png", tmp_path / "all.png", **files_of(place), uses=USES)
    with c2pa.Reader("image/png", io.BytesIO((tmp_path / "all.png").read_bytes())) as reader:
        assert '"cawg.training-mining"' in reader.json()
        for use in ("data_mining", "ai_training", "ai_generative_training", "ai_inference"):
            assert f'"cawg.{use}"' in reader.json()
    assert set(TRAINING_USES) < set(USES)


def test_a_later_edit_that_says_nothing_does_not_hide_what_was_declared(place, tmp_path):
    marked = tmp_path / "marked.png"
    mark_picture(place / "work.png", marked, **files_of(place))
    chain, key = painter()
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=key, ta_url=None)
    edited = io.BytesIO()
    with c2pa.Builder({"claim_generator_info": [{"name": "editor"}]}) as builder:
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        builder.sign(c2pa.Signer.from_info(info), "image/png", io.BytesIO(marked.read_bytes()), edited)
    (tmp_path / "edited.png").write_bytes(edited.getvalue())
    found = [code for code, _ in codes(tmp_path / "edited.png", "PNG")]
    assert found[-2:] == ["earlier", "forbid"]


def test_the_command_writes_a_copy_and_says_what_it_holds(place, tmp_path, capsys):
    out = tmp_path / "marked.jpeg"
    signed = ["--certificate", str(place / "secp256r1-chain.pem"), "--key", str(place / "secp256r1-key.pem")]
    given = ["mark", str(place / "work.jpeg"), *signed, "--out", str(out)]
    assert main(given) == 2 and "Nothing is declared" in capsys.readouterr().err
    assert main([*given, "--no-training", "--no-mining"]) == 0
    said = capsys.readouterr().out
    assert "not allowed: " in said and "data mining" in said and "ai inference" not in said
    assert main([*given, "--no-training"]) == 2 and "is there already" in capsys.readouterr().err


def test_what_cannot_be_signed_is_refused_and_nothing_is_written(place, tmp_path):
    out = tmp_path / "out"
    good = files_of(place)
    with refuses("pictures.mark.format"):
        mark_picture(place / "work.bmp", out, **good)
    with refuses("pictures.mark.unreadable"):
        mark_picture(place / "nowhere.png", out, **good)
    with refuses("pictures.mark.key"):
        mark_picture(place / "work.png", out, good["certificates"], good["certificates"])
    (tmp_path / "rsa.pem").write_bytes(private_pem(rsa.generate_private_key(65537, 2048)))
    with refuses("pictures.mark.key"):
        mark_picture(place / "work.png", out, good["certificates"], tmp_path / "rsa.pem")
    (tmp_path / "other.pem").write_bytes(private_pem(ed25519.Ed25519PrivateKey.generate()))
    with refuses("pictures.mark.refused"):
        mark_picture(place / "work.png", out, good["certificates"], tmp_path / "other.pem")
    assert not out.exists()


def test_a_key_of_another_certificate_makes_no_valid_mark(place, tmp_path):
    chain, _ = painter()
    (tmp_path / "chain.pem").write_bytes(chain)
    with refuses("pictures.mark.refused"):
        mark_picture(place / "work.png", tmp_path / "out", tmp_path / "chain.pem", files_of(place)["key"])
