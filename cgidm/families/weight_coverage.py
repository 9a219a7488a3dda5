"""Weight coverage: every tensor of a component's files is in use, and every weight in use comes from them.

Libraries fill missing weights with random numbers and skip unknown ones, with a warning at most. Either would give a
model that was never published.
"""

import re
from collections.abc import Mapping

import torch
from torch import nn

from ..errors import UserError
from ..intake.header import TensorInfo
from ..messages import Note, note

# names of attention layers in old files, which diffusers renames
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_NAME = re.compile(rf"\.({'|'.join(OLD_NAMES)})\.(weight|bias)$")
# what text encoders are wrapped in: transformers 5 dropped the first, and moves the others from version to version
OUTER_NAMES = re.compile(r"^(?:(?:text_model|model|language_model)\.)+")
SHAPES = re.compile(r"(\S+) expected shape torch\.Size\((.*?)\), but got torch\.Size\((.*?)\)")
# a table of 0, 1, 2, ...; a weight that is not used
NOT_COUNTED = re.compile(r"(^|\.)(position_ids|logit_scale)$")


def check_coverage(
    network: nn.Module, tensors: Mapping[str, TensorInfo], name: str, without_use: tuple[str, ...] = ()
) -> None:
    """Compare the names and shapes in a file with those of the network built from it.

    Args:
        network: the network.
        tensors: the tensors of its files.
        name: what error messages call the component.
        without_use: name prefixes of weights that may be absent, since nothing that is computed uses them.

    Raises:
        UserError: if a tensor is not in use, a weight in use is not in the file, or their shapes differ.
    """
    given = {_current_name(k): _core(t.shape) for k, t in tensors.items() if not NOT_COUNTED.search(k)}
    state = network.state_dict(keep_vars=True)
    used = {_current_name(k): _core(tuple(v.shape)) for k, v in state.items() if not NOT_COUNTED.search(k)}
    shared = {_current_name(k) for k, v in state.items() if any(v is w and k != j for j, w in state.items())}
    unknown = sorted(given.keys() - used.keys())
    missing = sorted(k for k in used.keys() - given.keys() if k not in shared and not k.startswith(without_use))
    misshapen = sorted(k for k in given.keys() & used.keys() if given[k] != used[k])
    problems = [
        note(f"families.weights_{problem}", count=len(keys), first=f"{keys[0]:.120}")
        for problem, keys in (("missing", missing), ("unknown", unknown), ("misshapen", misshapen))
        if keys
    ]
    if problems:
        raise UserError("families.weights_do_not_match", name=name, problems=problems)


@torch.no_grad()
def check_finite(network: nn.Module, name: str) -> None:
    """See that every weight is a finite number: a training that diverged saves NaN.

    Raises:
        UserError: if one is not.
    """
    state = {k: v for k, v in network.state_dict().items() if v.is_floating_point() and v.numel()}
    wrong = [k for k, v in state.items() if not torch.stack(torch.aminmax(v)).isfinite().all()]
    if wrong:
        raise UserError("families.not_finite", name=name, count=len(wrong), total=len(state), first=f"{wrong[0]:.120}")


def explain_error(error: Exception) -> Note:
    """Explain in one line why a library cannot build a network from a file, without its advice."""
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if found := SHAPES.search(first_line):
        return note("families.weight_shape", weight=f"{found[1]:.120}", given=found[3], expected=found[2])
    if "LOAD REPORT" in first_line.upper() or "above report" in str(error):  # transformers' table of misfits
        return note("families.configuration_misfit")
    return note("families.library_error", text=f"{first_line:.200}")


def _current_name(key: str) -> str:
    """Normalise a tensor's name across versions of the libraries."""
    key = OUTER_NAMES.sub("", key)
    return OLD_NAME.sub(lambda match: f".{OLD_NAMES[match[1]]}.{match[2]}", key)


def _core(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop trailing ones: a 1x1 convolution of an old file is a linear layer today."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape
