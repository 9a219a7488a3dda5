"""How a pair lies on its device: in turns, computed twice, in float32 where half is too narrow. Results stay."""

import gc
import weakref
from itertools import pairwise

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from cgidm import RecoveryConfig, recover
from cgidm.families import load_pair
from cgidm.families import memory as counting
from cgidm.families.codec import VaeCodec
from cgidm.families.conditioning import condition_on_prompt
from cgidm.families.offloading import WeightOffloader
from cgidm.method.memory_plan import MemoryPlan
from cgidm.method.partial import make_partial
from cgidm.method.scores import loss_contrast
from tests.support import tiny, tiny_families
from tests.support.worlds import generators

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def folders(tmp_path):
    """A base, a suspect saved whole, and a LoRA of network and text encoder."""
    pipeline = tiny.stable_diffusion()
    pipeline.save_pretrained(tmp_path / "base")
    tuned = tiny.stable_diffusion()
    tiny.perturbed(tuned.unet)
    tuned.save_pretrained(tmp_path / "full")
    layers = {}
    for part, names in (("unet", ["to_q", "to_v"]), ("text_encoder", ["q_proj", "v_proj"])):
        network = getattr(pipeline, part)
        network.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=names))
        for name, p in network.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(p, std=0.3)
        layers[part] = get_peft_model_state_dict(network)
    StableDiffusionPipeline.save_lora_weights(tmp_path / "lora", layers["unet"], layers["text_encoder"])
    return tmp_path


@pytest.fixture
def planned(monkeypatch):
    """Pairs are held as is said here, whatever is free."""

    def plan(**chosen):
        given = MemoryPlan(networks=1, weights=0, working=0, free=None, **chosen)
        monkeypatch.setattr(counting, "plan_memory", lambda *args, **options: given)

    return plan


@pytest.fixture
def elsewhere(monkeypatch):
    """A device of its own: loading copies weights. Holds the offloader of every pair that is loaded."""
    made = []

    class Watched(WeightOffloader):
        def __init__(self, device, offloads):
            super().__init__(device, offloads=offloads, copy=self._clone)
            self.moved = self.most = 0
            made.append(self)

        def __call__(self, *modules):
            super().__call__(*modules)
            self.most = max(self.most, len(self._loaded))

        def pin_all(self, modules):
            most = self.most  # on the way there
            super().pin_all(modules)
            self.most = most

        def _clone(self, weight):
            self.moved += 1
            return weight.clone()

    monkeypatch.setattr("cgidm.families.load.WeightOffloader", Watched)
    monkeypatch.setattr("cgidm.families.load.worth_merging", lambda *_: False)  # as on a GPU
    return made


def run(pair, **changes):
    images = torch.rand(2, 3, pair.resolution, pair.resolution, generator=generators(1)[0])
    z = pair.codec.encode(images)
    partial = make_partial("block4", pair.codec, images, z)
    config = RecoveryConfig(steps=3, draws=3, **changes)
    *_, last = recover(pair, z, partial, config, generators=generators(2))
    scores = loss_contrast(pair, z, 5, generators(2))
    return [last.z, last.gradient_norm, last.contrast, scores, pair.codec.decode(last.z)]


@pytest.mark.parametrize("suspect", ["full", "lora"])
def test_offloading_changes_no_bit_and_who_computes_is_alone(folders, suspect, planned, elsewhere):
    given = str(folders / "base"), str(folders / suspect), "a b"
    planned()
    wanted = run(load_pair(*given))
    (stayed,), moved = elsewhere, elsewhere[0].moved
    assert stayed.pinned and not stayed._loaded

    planned(offloading=True)
    pair = load_pair(*given)
    offloader, present = elsewhere[-1], []

    def look(module, _):
        owner = module if module in pair.networks else pair.networks[0]
        hosts = offloader._loaded[owner]
        assert list(offloader._loaded) == [owner]
        assert all(hosts[w].data_ptr() != w.data_ptr() for w in module.parameters())
        present.append(owner)

    for module in pair.modules:
        module.register_forward_pre_hook(look)
    got = run(pair)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    changes = sum(a is not b for a, b in pairwise(present))
    assert set(present) == set(pair.networks) and changes == (2 * (3 + 1) - 1 if suspect == "full" else 0)
    assert stayed.moved == moved and offloader.moved > moved and not offloader.pinned
    assert not any(w.requires_grad for n in pair.networks for w in n.parameters())


@pytest.mark.parametrize("suspect", ["full", "lora"])
def test_a_pair_is_loaded_with_one_module_on_the_device_at_a_time_unless_there_is_plenty(folders, suspect, elsewhere):
    given = str(folders / "base"), str(folders / suspect), "a b"
    tight, plenty = (load_pair(*given, free=free) for free in (1000, 10**9))
    assert [offloader.most for offloader in elsewhere] == [1, 4 if suspect == "full" else 3]
    assert elsewhere[0].moved > elsewhere[1].moved and all(offloader.pinned for offloader in elsewhere), "a CPU"
    for part in (*tight.networks, tight.codec.vae, *plenty.networks, plenty.codec.vae):
        assert all(w.device == CPU for w in part.parameters())
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    with torch.no_grad():
        assert torch.equal(tight.suspect.predict_eps(x, t), plenty.suspect.predict_eps(x, t))


def test_what_is_away_lies_where_it_lay():
    network, vae = tiny.stable_diffusion().unet, tiny.vae()
    offloader = WeightOffloader(CPU, copy=torch.clone)
    lay = [w.data_ptr() for w in network.parameters()]
    for _ in range(2):
        offloader(network)
        assert lay != [w.data_ptr() for w in network.parameters()]
        offloader(vae)
        assert lay == [w.data_ptr() for w in network.parameters()]


@pytest.mark.parametrize("suspect", ["full", "lora"])
def test_computing_twice_and_fewer_rows_change_no_result(folders, suspect, planned):
    given = str(folders / "base"), str(folders / suspect), "a b"
    planned()
    wanted = run(load_pair(*given))
    planned(checkpointing=True, rows_per_call=1)
    pair, rows = load_pair(*given), []
    assert all(n.is_gradient_checkpointing for n in pair.networks) and pair.rows_per_call() == 1
    pair.networks[0].register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    for got, right in zip(run(pair), wanted, strict=True):
        torch.testing.assert_close(got, right, atol=1e-5, rtol=1e-4)
    assert set(rows) == {1}


def test_tiles_are_used_only_where_they_were_chosen(folders, planned):
    given = str(folders / "base"), str(folders / "full"), "a b"
    planned()
    pair = load_pair(*given)
    z = pair.codec.encode(torch.rand(1, 3, pair.resolution, pair.resolution, generator=generators(1)[0]))
    planned(tiling=True)
    tiled = load_pair(*given)
    assert not pair.codec.vae.use_tiling and tiled.codec.vae.use_tiling
    assert not torch.equal(tiled.codec.decode(z), pair.codec.decode(z))


def test_what_is_free_is_measured_and_a_little_of_it_is_enough(folders):
    given = str(folders / "base"), str(folders / "lora"), "a b"
    assert load_pair(*given).memory.free > 10**6
    tight = load_pair(*given, free=5 * 10**6)
    assert tight.memory.fits and tight.memory.rows_per_call < 16 and run(tight)[0].isfinite().all()
    assert not load_pair(*given, free=1000).memory.fits


def test_text_encoders_are_let_go(folders, monkeypatch):
    def encoders():
        return [o for o in gc.get_objects() if type(o).__name__ == "CLIPTextModel"]

    seen, others = [], weakref.WeakSet(encoders())  # others: those that other tests of this process keep
    real = WeightOffloader.wrap

    def wrap(offloader, model):
        seen.extend(weakref.ref(o) for o in encoders() if o not in others)
        return real(offloader, model)

    monkeypatch.setattr(WeightOffloader, "wrap", wrap)
    pair = load_pair(str(folders / "base"), str(folders / "lora"), "a b")
    assert seen
    gc.collect()
    assert not any(ref() for ref in seen), "they hold an adapter too"
    assert pair.memory is not None


def test_a_wide_autoencoder_runs_in_float32_beside_a_half_network(tmp_path):
    """SDXL's leaves the range of fp16; the others' do not, though diffusers' default says the same of them."""
    pipeline = tiny_families.stable_diffusion_xl()
    assert pipeline.vae.config.force_upcast
    pipeline.save_pretrained(tmp_path / "base")
    tiny.perturbed(pipeline.unet)
    pipeline.save_pretrained(tmp_path / "tuned")
    pair = load_pair(str(tmp_path / "base"), str(tmp_path / "tuned"), "a b", dtype=torch.float16)
    dtypes = set()
    vae = pair.codec.vae
    for part in (vae.encoder, vae.decoder):
        part.register_forward_hook(lambda _, args, out: dtypes.update((args[0].dtype, out.dtype)))
    z = pair.codec.encode(torch.rand(1, 3, 64, 64))
    assert pair.codec.decode(z).isfinite().all() and dtypes == {torch.float32}
    assert {w.dtype for n in pair.networks for w in n.parameters()} == {torch.float16}
    narrow = tiny_families.stable_diffusion_xl().to(dtype=torch.float16)
    narrow.vae.register_to_config(force_upcast=False)
    assert condition_on_prompt(narrow, "").codec.vae.dtype == torch.float16
    assert condition_on_prompt(tiny.stable_diffusion().to(dtype=torch.float16), "").codec.vae.dtype == torch.float16


def test_pictures_go_one_by_one_so_that_none_depends_on_its_batch():
    codec, seen = VaeCodec(tiny.vae().eval()), []
    codec.vae.encoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    codec.vae.decoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    images = torch.rand(5, 3, 64, 64)
    z = codec.encode(images)
    back = codec.decode(z)
    assert set(seen) == {1}
    assert torch.equal(z[3:4], codec.encode(images[3:4])) and torch.equal(back[3:4], codec.decode(z[3:4]))
