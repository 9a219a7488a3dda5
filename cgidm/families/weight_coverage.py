"""Every tensor of a component's files is in use, and every weight in use is from them.

Libraries fill a lost weight with random numbers and pass over a strange one, with a warning at most: either would
make a model that nobody published.
"""

import re
from collections.abc import Mapping

from torch import nn

from ..errors import UserError
from ..intake.header import TensorInfo

# names of attention in old files, which diffusers renames
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_NAME = re.compile(rf"\.({'|'.join(OLD_NAMES)})\.(weight|bias)$")
SHAPES = re.compile(r"(\S+) expected shape torch\.Size\((.*?)\), but got torch\.Size\((.*?)\)")
# a table of 0, 1, 2 ...; the weights of nothing that is used
NOT_COUNTED = re.compile(r"(^|\.)(position_ids|logit_scale)$")


def check_whole(
    network: nn.Module, tensors: Mapping[str, TensorInfo], name: str, without_use: tuple[str, ...] = ()
) -> None:
    """Compare the names and shapes of a file with those of the network that was built from it.

    Weights whose names begin as one of `without_use` may be absent: nothing that is computed passes through them.

    Raises:
        UserError: if a tensor is not in use, or a weight in use is not from the file, or has another shape there.
    """
    given = {_today(k): _core(t.shape) for k, t in tensors.items() if not NOT_COUNTED.search(k)}
    state = network.state_dict(keep_vars=True)
    used = {_today(k): _core(tuple(v.shape)) for k, v in state.items() if not NOT_COUNTED.search(k)}
    shared = {_today(k) for k, v in state.items() if any(v is w and k != j for j, w in state.items())}
    strange = sorted(given.keys() - used.keys())
    lost = sorted(k for k in used.keys() - given.keys() if k not in shared and not k.startswith(without_use))
    turned = sorted(k for k in given.keys() & used.keys() if given[k] != used[k])
    found = (
        (lost, "weights that are in use are not in it"),
        (strange, "of its tensors have no place"),
        (turned, "of its tensors have another shape"),
    )
    said = [f"{len(keys)} {what} (first: {keys[0]:.120})" for keys, what in found if keys]
    if said:
        raise UserError(f"{name}: {' and '.join(said)}; accepted: a whole model of its kind")


def explain_error(error: Exception) -> str:
    """What a library says when it cannot build a network from a file, in one line and without its advice."""
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if turned := SHAPES.search(first_line):
        return f"its {turned[1]:.120} has shape {turned[3]}, {turned[2]} is wanted"
    return f"{first_line:.200}"


def _today(key: str) -> str:
    """A tensor's name without what changed between versions of the libraries."""
    key = key.removeprefix("text_model.")  # transformers 5 dropped it
    return OLD_NAME.sub(lambda match: f".{OLD_NAMES[match[1]]}.{match[2]}", key)


def _core(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without trailing ones: a 1x1 convolution of an old file is a linear layer today."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape
