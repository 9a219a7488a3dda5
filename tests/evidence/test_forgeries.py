"""Somebody changes one value of a record and makes everything else fit: reports, manifest, seal, signature.

What follows from the scores is named by `verify`. The scores are named by a repeated run. What neither can confirm,
`verify` lists as stated only. `UNPRINTED` are the values that no report prints and that nothing finds.
"""

import fnmatch
import json
import re
from collections import Counter

import pytest

from cgidm import families
from cgidm.errors import UserError
from cgidm.evidence import bundle_files, recompute, record_of_result, rerun
from cgidm.evidence.bundle_reader import open_bundle
from cgidm.evidence.record import read_record, record_bytes
from cgidm.evidence.rerun import RerunOptions, repeat
from cgidm.evidence.rerun_diff import compare
from cgidm.evidence.seal import RECORD, bundle_record
from cgidm.evidence.verify import CLAIMS
from cgidm.judging import portfolio
from cgidm.pictures import duplicates
from cgidm.pictures.embedders import Embedders
from cgidm.provenance import package_versions
from tests.support.forgeries import AlteredBundle, forgeries, make_with_bank, make_with_controls, words_of

pytestmark = pytest.mark.slow

INPUTS = re.compile(r"(config|models|machine|framing|bank|lineup|mirror|pictures\[\d+\]\.(frame|sha256))\b")
UNPRINTED = {  # path -> why nothing finds it, and why that harms nobody
    "config.recovery.rows_per_call": "how many rows a network is given at once: no number depends on it",
}


@pytest.fixture(scope="module", params=["controls", "bank"])
def made(request, tmp_path_factory):
    make = {"controls": make_with_controls, "bank": make_with_bank}[request.param]
    return make(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("evidence"))


@pytest.fixture(scope="module", autouse=True)
def remembered(made):
    """What depends on the pictures alone is computed once: thousands of records are about the same pictures."""
    hashes: dict[bytes, object] = {}
    plain_hash, plain_test = duplicates.perceptual_hash, portfolio._mean_test
    tests: dict[bytes, float] = {}

    def perceptual_hash(image):
        key = image.numpy().tobytes()
        if key not in hashes:
            hashes[key] = plain_hash(image)
        return hashes[key]

    def mean_test(x, reference, seed=0):
        key = x.tobytes() + b"|" + reference.tobytes()
        if key not in tests:
            tests[key] = plain_test(x, reference, seed)
        return tests[key]

    versions, images = package_versions(), {}

    def read_png(bundle, name, size):
        key = name, size
        if key not in images:
            images[key] = bundle_files.read_png(bundle, name, size)
        return images[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_of_result, "package_versions", lambda: versions)
        patch.setattr(duplicates, "perceptual_hash", perceptual_hash)
        patch.setattr(portfolio, "_mean_test", mean_test)
        patch.setattr(recompute, "read_png", lambda bundle, *which: read_png(bundle, *which))
        patch.setattr(recompute, "find_foreign_files", lambda *_: ())  # the forger has written both reports anew
        yield


@pytest.fixture
def repeatable(made, monkeypatch):
    """A repeated run loads no model a second time."""
    pairs = {"a b": made.pair}
    plain = families.load_pair

    def load_pair(base, suspect, prompt, embeddings=(), **more):
        if prompt not in pairs:
            pairs[prompt] = plain(base, suspect, prompt, embeddings, **more)
        return pairs[prompt]

    reference = made.result.controls
    monkeypatch.setattr(families, "load_pair", load_pair)
    monkeypatch.setattr(rerun, "load_embedders", lambda *_, **__: Embedders())
    monkeypatch.setattr(rerun, "read_reference_pictures", lambda _: reference)


def is_claim(where):
    return any(fnmatch.fnmatch(where, pattern) for c in CLAIMS for pattern in _patterns(c))


def _patterns(claim):
    plain = claim.replace("[", "[[]").replace("[[]*]", "[[]*]")
    return plain, f"{plain}.*", f"{plain}[[]*"


def finds(bundle, made, where, data):
    """Who finds a forgery: the reader, `verify`, a repeated run; nobody."""
    try:
        record = read_record(data, "forged")
    except UserError:
        return "reader"
    altered = AlteredBundle(bundle, {RECORD: data})
    if not recompute.recompute(altered, record).agrees:
        return "verify"
    if not INPUTS.match(where):
        with_result = compare(altered, record, made.result)
        return "rerun" if not with_result.agrees else None
    try:
        found = repeat(altered, RerunOptions())
    except UserError:
        return "rerun"
    if not found.agrees:
        return "rerun"
    return "rerun, as another machine" if where.startswith("machine.") and found.differing else None


def test_nothing_is_found_in_a_bundle_that_nobody_touched(made, repeatable):
    with open_bundle(made.folder) as bundle:
        record = bundle_record(bundle)
        assert list(recompute.recompute(bundle, record).differences) == []
        assert repeat(bundle, RerunOptions()).agrees


def test_every_value_that_a_report_prints_is_found_or_listed_as_stated(made, repeatable):
    counts, slipped = Counter(), {}
    with open_bundle(made.folder) as bundle:
        record = bundle_record(bundle)
        plain, words = json.loads(record_bytes(record)), words_of(record)
        for where, forged in forgeries(plain):
            data = (json.dumps(forged, indent=2) + "\n").encode()
            found = finds(bundle, made, where, data)
            if found is None and is_claim(where):
                found = "stated only"
            if found is None:
                printed = words_of(read_record(data, "forged")) != words
                slipped.setdefault(where, set()).add("printed" if printed else "not printed")
            counts[found] += 1
    print(counts)
    print(*sorted(slipped.items()), sep="\n")
    assert slipped == {where: {"not printed"} for where in UNPRINTED}
    assert sum(counts.values()) >= 1
