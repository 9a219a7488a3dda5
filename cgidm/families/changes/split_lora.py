"""LoRAs of query, key and value that were trained apart and are stored as one: `split_qkv` of kohya's scripts.

For a layer that computes query, key and value at once these scripts then train a LoRA of rank r for each. They store
them as one LoRA: the first factors one below the other, the second ones as blocks with zeros around them, and alpha as
it was. So the rank is three or four times r, and alpha / rank a third or a quarter of the scale of the training. Every
program that loads such a file, these scripts as well, applies the weaker change.
(https://github.com/kohya-ss/sd-scripts, `state_dict` of networks/lora_flux.py and lora_sd3.py; issue 2204)

Converters from diffusers' names write such blocks, too, but raise alpha with the rank: their scale is right. So what
tells the two apart is an alpha that is the same in all layers while their ranks differ. Where all ranks are the same
nothing tells them apart: then the file is read as it says.
"""

from collections.abc import Sequence
from dataclasses import replace

from .regions import FileChange


def restore_split(changes: Sequence[FileChange], alphas: Sequence[float | None]) -> tuple[list[FileChange], int]:
    """Give LoRAs that were trained apart and stored as one the scale of their training.

    Args:
        changes: of one network.
        alphas: of each change, as a tensor of the file states it; None: none does.

    Returns:
        The changes, and how many of them have another scale than alpha / rank.
    """
    blocks = [_count_blocks(change) for change in changes]
    unraised = len({*alphas}) == 1 and len({change.change.rank for change in changes}) > 1
    if alphas[:1] == [None] or not unraised or max(blocks, default=1) == 1:
        return list(changes), 0
    restored = [
        replace(file, change=replace(file.change, scale=count * file.change.scale)) if count > 1 else file
        for file, count in zip(changes, blocks, strict=True)
    ]
    return restored, sum(count > 1 for count in blocks)


def _count_blocks(file: FileChange) -> int:
    """How many LoRAs a change is made of, one for each module that the file's layer is split into; 1 if it is none."""
    spans = sorted(region.theirs for region in file.regions if region.theirs is not None)
    count, up = len(spans), file.change.parts.get("up")
    if file.change.kind != "LoRA" or count < 2 or up is None or file.change.rank % count:
        return 1
    rank = file.change.rank // count
    for i, (start, end) in enumerate(spans):
        rows = up.flatten(1)[start:end]
        own = rows[:, i * rank : (i + 1) * rank]
        if not own.any() or rows.count_nonzero() != own.count_nonzero():
            return 1
    return count
