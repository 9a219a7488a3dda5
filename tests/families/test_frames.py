"""What networks are told of a picture's frame, and that larger frames are counted."""

from dataclasses import replace

import pytest
import torch

from cgidm.families import load_pair
from cgidm.families import memory as counting
from cgidm.families.conditioning import condition_on_prompt, tell_frame
from cgidm.framing.frame import CentreSquare, Framing
from cgidm.framing.kohya import Kohya
from cgidm.judging.batches import make_batches
from cgidm.method.scores import loss_contrast
from cgidm.pictures.images import Picture
from eval.speed.build import build_pipeline, read_architecture
from tests.support import tiny, tiny_families
from tests.support.worlds import generators

KOHYA = Kohya(resolution=(64, 64), least_side=32, most_side=128, step=16)


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdxl")
    tiny_families.stable_diffusion_xl().save_pretrained(folder / "base")
    tuned = tiny_families.stable_diffusion_xl()
    tiny.perturbed(tuned.unet)
    tuned.save_pretrained(folder / "tuned")
    return load_pair(str(folder / "base"), str(folder / "tuned"), "a b")


def pictured(size, rule: Framing = KOHYA, seed=0):
    frame = rule.frame(*size)
    image = torch.rand(3, frame.size[1], frame.size[0], generator=torch.Generator().manual_seed(seed))
    return Picture(f"{size}", f"{seed:064d}", image, frame=frame)


def told(pair, picture):
    """The size conditions that reach base and suspect while a picture is scored."""
    (batch,) = make_batches(pair, [picture])
    seen = []

    def look(module, given, options):
        seen.append(options["added_cond_kwargs"]["time_ids"])

    hooks = [network.register_forward_pre_hook(look, with_kwargs=True) for network in pair.modules]
    z = batch.pair.codec.encode(batch.images)
    loss_contrast(batch.pair, z, 2, generators(1))
    for hook in hooks:
        hook.remove()
    assert len(seen) >= 2
    rows = torch.cat(seen)
    assert (rows == rows[0]).all()
    return tuple(rows[0].int().tolist())


def test_a_network_of_sdxl_is_told_what_kohya_s_trainer_told_it(sdxl):
    # 200 x 310 goes to the bucket 48 x 80 (0.6): to keep its aspect of 0.645 within it, it is 48 x 74.4, 2 from the top
    assert told(sdxl, pictured((200, 310))) == (310, 200, 2, 0, 80, 48)
    assert told(sdxl, pictured((310, 200))) == (200, 310, 0, 2, 48, 80)


def test_of_a_centre_square_it_is_told_a_whole_picture(sdxl):
    assert told(sdxl, pictured((200, 310), CentreSquare(resolution=64))) == (64, 64, 0, 0, 64, 64)


def test_pictures_are_in_one_batch_where_networks_are_told_the_same(sdxl, tmp_path):
    pictures = [pictured(size) for size in ((200, 310), (400, 620), (310, 200), (200, 310))]
    assert [b.indices for b in make_batches(sdxl, pictures)] == [(0, 3), (1,), (2,)]
    tiny.stable_diffusion().save_pretrained(tmp_path / "base")
    tuned = tiny.stable_diffusion()
    tiny.perturbed(tuned.unet)
    tuned.save_pretrained(tmp_path / "tuned")
    untold = load_pair(str(tmp_path / "base"), str(tmp_path / "tuned"), "a b")
    assert untold.told_of is None
    assert [b.indices for b in make_batches(untold, pictures)] == [(0, 1, 3), (2,)]


def test_memory_is_counted_at_the_size_of_the_largest_frame():
    model = condition_on_prompt(tiny.stable_diffusion(), "a b")
    usual, large = (counting.row_bytes(model, torch.float32, False, side) for side in (None, 2 * model.resolution))
    assert counting.row_bytes(model, torch.float32, False, model.resolution) == usual and large > 3 * usual


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "told_by_kohya"),
    [  # within the bucket 832 x 1216 the whole picture is 810.7 wide: 10 from the left
        ((1000, 1500), (1500, 1000, 0, 10, 1216, 832)),
        ((3000, 2000), (2000, 3000, 10, 0, 832, 1216)),
    ],
)
def test_of_sdxl_itself_an_oblong_frame_is_told_and_counted(size, told_by_kohya):
    """The published architecture, without weights."""
    meta = torch.device("meta")
    pipeline = build_pipeline(read_architecture("sdxl"), meta, torch.float16)
    model = replace(condition_on_prompt(pipeline, "a b"), device=meta)
    frame = Kohya(resolution=(1024, 1024), most_side=2048).frame(*size)
    width, height = frame.size
    framed, seen = tell_frame(model, frame), []

    def evaluate():
        x = torch.zeros(1, 4, height // 8, width // 8, device=meta).requires_grad_()
        prediction = framed.predict(x.half(), torch.zeros(1, device=meta))
        seen.append(prediction.shape)
        torch.autograd.grad(prediction.float().square().sum(), x)

    counted = counting.row_bytes(model, torch.float16, False, 1024)
    exact = counting.count_peak(evaluate)
    assert sorted(frame.size) == [832, 1216] and seen[0] == (1, 4, height // 8, width // 8)
    assert frame.size_conditions == told_by_kohya
    assert 0.9 * counted < exact <= counted  # fewer pixels than the square
