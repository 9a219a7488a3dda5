"""The blind baseline trips on shifted splits and on nothing else."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cgidm.judging.blind_baseline import _hat_matrix, _kernel, _leave_one_out_aucs, blind_test, picture_features
from cgidm.pictures.embedders import load_embedders
from eval.analysis.metrics import pooled_auc
from tests.support.paths import CONTROLS

AUTHORS = ("gerald-g-dreambooth", "rollandin-lora")
EACH = 32  # pictures of an author


def halves(n):
    return (np.arange(n) < n // 2).astype(int)


def joined(*features):
    return [np.concatenate(tables) for tables in zip(*features, strict=True)]


def trips(make, times, groups=None, permutations=99):
    """How often the test trips at 5 %."""
    found = [blind_test(*make(), groups, permutations, seed=i).p_value for i in range(times)]
    return np.count_nonzero(np.array(found) <= 0.05)


def indifferent(images):
    """An embedder to which all pictures are alike, so that only the rest of the features can tell."""
    return torch.ones(len(images), 4)


@pytest.fixture(scope="module")
def authors():
    embedder = load_embedders().ready["efficientnet_lite0"]
    return [picture_features(sorted((CONTROLS / name).glob("*.jpg"))[:EACH], embedder) for name in AUTHORS]


def test_two_authors_are_told_apart(authors):
    found = blind_test(joined(*authors), halves(2 * EACH))
    assert found.p_value <= 0.05 and found.auc > 0.7 and found.n == 2 * EACH


@pytest.mark.parametrize("author", range(2), ids=AUTHORS)
def test_random_halves_of_one_author_are_not(authors, author):
    rng = np.random.default_rng(0)
    features = authors[author]
    assert trips(lambda: (features, rng.permutation(halves(EACH))), 100) <= 7


def test_sizes_and_compression_betray_a_split(tmp_path):
    files = sorted((CONTROLS / AUTHORS[0]).glob("*.jpg"))[:20]

    def saved(name, chosen, side, quality):
        for file in chosen:
            picture = Image.open(file).resize((side, side))
            picture.save(tmp_path / f"{name}-{file.name}", quality=quality)
        return picture_features(sorted(tmp_path.glob(f"{name}-*")), indifferent)

    plain, as_plain, larger, worse = (
        saved(name, files[i::2], side, quality)
        for name, i, side, quality in (("a", 0, 192, 90), ("b", 1, 192, 90), ("c", 1, 256, 90), ("d", 1, 192, 30))
    )
    assert blind_test(joined(plain, larger), halves(20)).p_value <= 0.01
    assert blind_test(joined(plain, worse), halves(20)).p_value <= 0.01
    assert blind_test(joined(plain, as_plain), halves(20)).p_value > 0.05


def test_pictures_in_memory_and_transparent_ones():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 40, 60, 4), dtype=np.uint8)
    shown, looks, files = picture_features([Image.fromarray(p, "RGBA") for p in pixels], indifferent)
    assert shown.shape == (2, 4) and looks.shape == (2, 18) and files.shape == (2, 4)
    assert files[0] == pytest.approx([np.log(60), np.log(40), 0, 0])
    assert looks[:, 6:14].sum(1) == pytest.approx(1)


def test_blocks_of_jpeg_are_seen(tmp_path):
    smooth = np.linspace(0, 255, 128)[None, :, None] * np.ones((128, 1, 3))
    noisy = (smooth + np.random.default_rng(0).normal(0, 20, smooth.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "a.jpg", quality=5)
    Image.fromarray(noisy).save(tmp_path / "b.png")
    blocky, plain = picture_features([tmp_path / "a.jpg", tmp_path / "b.png"], indifferent)[1][:, -1]
    assert abs(plain) < 0.1 and blocky > 0.5


def test_left_out_means_fitted_without_it():
    rng = np.random.default_rng(0)
    x, member, own = rng.normal(size=(30, 50)), rng.permutation(halves(30)), [np.arange(30)]
    kernel = _kernel(x, own)
    assert kernel is not None
    hat = _hat_matrix(kernel, 3.0)
    assert np.trace(hat) == pytest.approx(3)
    values, fitted = np.linalg.eigvalsh(kernel)[-1], np.linalg.eigvalsh(hat)[-1]
    ridge, y = values / fitted - values, member - 0.5
    predicted = []
    for i in range(30):
        rest = np.arange(30) != i
        weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + ridge * np.eye(29), y[rest])
        predicted.append(kernel[i, rest] @ weights)
    by_hand = pooled_auc(pd.DataFrame({"member": member, "score": predicted}))
    assert _leave_one_out_aucs(hat, member[:, None].astype(float), own)[0] == pytest.approx(by_hand)


def test_scale_and_offset_do_not_matter():
    rng = np.random.default_rng(0)
    x, member = rng.normal(size=(40, 30)), rng.permutation(halves(40))
    other = np.column_stack([x * 10.0 ** rng.integers(-6, 6, 30) + 3, np.full(40, 7.1)])
    assert blind_test(other, member) == blind_test(x, member)


@pytest.mark.parametrize("members", [5, 20])
def test_noise_trips_as_rarely_as_stated(members):
    rng = np.random.default_rng(1)
    member = (np.arange(40) < members).astype(int)
    tables = (100, 3)
    assert trips(lambda: ([rng.normal(size=(40, d)) for d in tables], member), 200) <= 17  # 5 % of 200, 2.5 sigma above


def test_noise_in_concepts_trips_as_rarely_as_stated():
    rng = np.random.default_rng(2)
    groups, member = np.repeat(np.arange(5), 8), np.tile(halves(8), 5)
    concept = 10 * rng.normal(size=(5, 30))
    assert trips(lambda: (concept[groups] + rng.normal(size=(40, 30)), member), 200, groups) <= 17


@pytest.mark.parametrize(("columns", "expected"), [(1, 0.44), (1000, 0.59)])
def test_leave_one_out_is_off_half_and_the_permutations_are_with_it(columns, expected):
    rng = np.random.default_rng(3)
    found = [blind_test(rng.normal(size=(40, columns)), halves(40), permutations=20) for _ in range(150)]
    assert np.mean([f.auc for f in found]) == pytest.approx(expected, abs=0.04)
    low = [f.p_value <= 0.5 for f in found]
    assert np.mean(low) == pytest.approx(0.5, abs=0.1)


def test_a_shift_within_concepts_is_found_whatever_the_concepts_are():
    rng = np.random.default_rng(4)
    groups, member = np.repeat(np.arange(5), 8), np.tile(halves(8), 5)
    x = 30 * rng.normal(size=(5, 10))[groups] + rng.normal(size=(40, 10)) + 1.5 * member[:, None]
    assert blind_test(x, member, groups).p_value == 0.001
    assert blind_test(x, member).p_value > 0.05


def test_one_column_is_seen_if_it_is_a_kind_of_its_own():
    rng = np.random.default_rng(5)
    common = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 1000))
    column = halves(40)[:, None] + 0.1 * rng.normal(size=(40, 1))
    assert blind_test([common, column], halves(40)).p_value == 0.001
    assert blind_test(np.column_stack([common, column]), halves(40)).p_value > 0.05


def test_it_repeats():
    x = np.random.default_rng(6).normal(size=(20, 4))
    assert blind_test(x, halves(20), seed=1) == blind_test(x, halves(20), seed=1)


def test_what_cannot_be_tested_is_refused():
    x = np.random.default_rng(7).normal(size=(8, 4))
    with pytest.raises(ValueError, match="members only"):
        blind_test(x, np.ones(8))
    with pytest.raises(ValueError, match="holdouts only"):
        blind_test(x, halves(8), halves(8))
    with pytest.raises(ValueError, match="nothing to test"):
        blind_test(np.full((8, 3), 0.1), halves(8))
    with pytest.raises(ValueError, match="NaN or infinite"):
        blind_test(np.where(x > 1, np.nan, x), halves(8))
