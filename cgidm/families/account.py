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
# a table of 0, 1, 2 ...; the weights of nothing that is used
NOT_COUNTED = re.compile(r"(^|\.)(position_ids|logit_scale)$")


def check_whole(network: nn.Module, tensors: Mapping[str, TensorInfo], name: str) -> None:
    """Compare the names and shapes of a file with those of the network that was built from it.

    Raises:
        UserError: if a tensor is not in use, or a weight in use is not from the file, or has another shape there.
    """
    given = {_today(k): _core(t.shape) for k, t in tensors.items() if not NOT_COUNTED.search(k)}
    state = network.state_dict(keep_vars=True)
    used = {_today(k): _core(tuple(v.shape)) for k, v in state.items() if not NOT_COUNTED.search(k)}
    shared = {_today(k) for k, v in state.items() if any(v is w and k != j for j, w in state.items())}
    strange = sorted(given.keys() - used.keys())
    lost = sorted(k for k in used.keys() - given.keys() if k not in shared)
    turned = sorted(k for k in given.keys() & used.keys() if given[k] != used[k])
    for keys, what in (
        (lost, "weights that are in use are not in it"),
        (strange, "of its tensors have no place"),
        (turned, "of its tensors have another shape"),
    ):
        if keys:
            raise UserError(f"{name}: {len(keys)} {what} (first: {keys[0]:.160}); accepted: a whole model of its kind")


def _today(key: str) -> str:
    """A tensor's name without what changed between versions of the libraries."""
    key = key.removeprefix("text_model.")  # transformers 5 dropped it
    return OLD_NAME.sub(lambda match: f".{OLD_NAMES[match[1]]}.{match[2]}", key)


def _core(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without trailing ones: a 1x1 convolution of an old file is a linear layer today."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape
