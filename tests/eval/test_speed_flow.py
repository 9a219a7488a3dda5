"""The benchmark of speed on transformers of rectified flow, which the paper's public code does not know."""

from dataclasses import replace

import pytest
import torch

from eval.memory.build import flow_architectures
from eval.speed.bench import BenchRun, quicken, run_bench
from eval.speed.measure import Settings
from eval.speed.subjects import KINDS, find_subject, published_flow
from tests.support.paths import ASSETS

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
SETTINGS = quicken(Settings(CPU, torch.float32, ("reference", "paper", "fast", "answer")))


def tiny_flow(name):
    """A published transformer of rectified flow, small; its autoencoder and prompt, too."""
    transformers = {
        "flux-1-dev": {"in_channels": 16, "joint_attention_dim": 12, "pooled_projection_dim": 8, "num_layers": 1}
        | {"num_single_layers": 1, "attention_head_dim": 8, "num_attention_heads": 2, "axes_dims_rope": (2, 2, 4)},
        "z-image": {"in_channels": 4, "dim": 16, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2}
        | {"cap_feat_dim": 12, "axes_dims": [2, 2, 4], "axes_lens": [1024, 64, 64]},
    }
    whole = flow_architectures()[name]
    vae = {"block_out_channels": [4, 4, 4, 4], "norm_num_groups": 2, "latent_channels": 4, "layers_per_block": 1}
    conditions = ((16, 12), (8,))[: len(whole.conditions)]
    changes = {"vae": whole.vae | vae, "conditions": conditions, "resolution": 64}
    return replace(whole, transformer=whole.transformer | transformers[name], **changes)


FLOWS = {name: published_flow(name, tiny_flow(name)) for name in ("flux-1-dev", "z-image")}


def test_a_quick_run_over_a_small_flow_network_measures_ours_alone(tmp_path, monkeypatch):
    """The public code knows no rectified flow, so there is nothing to compare with."""
    monkeypatch.setattr("eval.speed.bench.measure_matrix_peak", lambda *given: 1e12)
    settings = replace(SETTINGS, pictures=(1,), steps=(1,), longest=0.05)
    job = BenchRun(settings, kinds=("lora",), quick=True, out=tmp_path)
    report = run_bench([FLOWS["z-image"]], job, lambda line: None)
    assert {r["arm"] for r in report["rows"]} == {"paper", "fast", "answer"}
    for row in report["rows"]:
        assert row["not_measured"] is None and row["pictures_per_hour"] > 0 and "times_reference" not in row
    assert all(p["flops_per_evaluation"] > 0 for p in report["pairs"])
    assert "| LoRA |" in (tmp_path / "cpu.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_suspect_differs_from_its_base(name, kind):
    pair = FLOWS[name].open_pair(kind, CPU, torch.float32)
    z = torch.randn(1, *FLOWS[name].latent, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        base, suspect = (m.predict_velocity(z, torch.tensor([500])) for m in (pair.base, pair.suspect))
    assert (base - suspect).abs().max() > 1e-4 and base.isfinite().all()


def test_the_flow_networks_have_their_published_size_and_shape():
    subject = find_subject("flux-1-dev", ASSETS)
    assert (subject.resolution, subject.latent, subject.is_flow) == (1024, (16, 128, 128), True)
