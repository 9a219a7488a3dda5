"""Latents as transformers of 2 x 2 cells take them: a row of tokens, each of four cells of all channels."""

from jaxtyping import Float
from torch import Tensor

from ...errors import UserError

PATCH = 2  # cells a side


def check_even(x: Float[Tensor, "b c h w"]) -> None:
    """See that the cells of a latent can be put together in squares.

    Raises:
        UserError: if height or width is odd.
    """
    height, width = x.shape[-2:]
    if height % PATCH or width % PATCH:
        raise UserError("families.odd_latent", height=height, width=width)


def pack(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
    """Put the cells of each square of 2 x 2 into one token, channel by channel, as FLUX.1 does.

    Raises:
        UserError: if height or width is odd.
    """
    check_even(x)
    squares = x.unflatten(-1, (-1, PATCH)).unflatten(-3, (-1, PATCH))  # b c H 2 W 2
    return squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens: Float[Tensor, "b n d"], like: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Undo `pack`: the tokens of a picture as large as `like`."""
    rows, columns = (side // PATCH for side in like.shape[-2:])
    squares = tokens.unflatten(1, (rows, columns)).unflatten(-1, (-1, PATCH, PATCH))  # b H W c 2 2
    return squares.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
