"""The embedded model's autoencoder: an AutoencoderKL that starts as a linear transform and learns from there.

From random weights, a small AutoencoderKL reaches 20 dB in the first minutes on a CPU and crawls. Two things hold
it back: its convolutions have to discover that neighbouring pixels are alike, and the group normalisation before
each output erases the brightness and contrast of the picture. So every residual branch starts at zero, the
downsampling convolutions start as the principal components of the 2x2 patches below them (a data-driven wavelet),
and the last normalisation starts with two large constant channels in its group, which fix its scale, and with every
signal present twice, as +c and -c, because silu(c) - silu(-c) = c. The whole network is then linear; after 90
seconds of training it stood at 26 dB.
"""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

LATENT_CHANNELS = 16
CROP = 64  # side of a training crop in pixels
KL_WEIGHT = 5e-4  # costs about 0.2 dB and keeps the decoder smooth around each code
ANCHOR = 6.0  # the constant channels, in standard deviations of the largest signal of their group

SHAPE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (16, 32, 64, 128),
    "layers_per_block": 1,
    "latent_channels": LATENT_CHANNELS,
    "norm_num_groups": 2,
    "mid_block_add_attention": False,
    "sample_size": 128,
}


def new_autoencoder(pictures: Tensor) -> AutoencoderKL:
    """A factor-8 autoencoder, initialised to the linear transform that suits `pictures` (b 3 h w in [-1, 1])."""
    vae: Any = AutoencoderKL(**SHAPE)
    for block in vae.modules():
        if isinstance(block, ResnetBlock2D):
            last: Any = block.conv2
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    nn.init.eye_(vae.quant_conv.weight[:, :, 0, 0].data)
    nn.init.zeros_(vae.quant_conv.bias)
    nn.init.eye_(vae.post_quant_conv.weight[:, :, 0, 0].data)
    nn.init.zeros_(vae.post_quant_conv.bias)
    _start_encoder(vae.encoder, pictures)
    _start_decoder(vae.decoder)
    return vae


def autoencoder_loss(vae: Any, pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Squared error of a sampled code's reconstruction plus the weighted divergence to a unit Gaussian."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(pictures).latent_dist
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        noise = torch.randn(mean.shape, generator=generator)
        reconstruction = vae.decode(mean + (0.5 * log_variance).exp() * noise).sample
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return F.mse_loss(reconstruction.float(), pictures) + KL_WEIGHT * divergence


def reconstruction_psnr(vae: Any, pictures: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each picture (b 3 h w in [-1, 1]) after encoding and decoding, `b`."""
    with torch.no_grad():
        decoded = [vae.decode(vae.encode(p).latent_dist.mode()).sample for p in pictures.split(16)]
    error = (torch.cat(decoded).clamp(-1, 1) - pictures).div(2).square().flatten(1).mean(1)
    return -10 * error.log10()


@torch.no_grad()
def _start_encoder(encoder: Any, pictures: Tensor) -> None:
    _identity(encoder.conv_in)
    h, rank = encoder.conv_in(pictures), 3
    for block in encoder.down_blocks[:-1]:
        resnet = block.resnets[0]
        if resnet.conv_shortcut is not None:
            _identity(resnet.conv_shortcut)
        h = resnet(h, None)
        patches = F.unfold(h[:, :rank], 2, stride=2).movedim(1, 2).flatten(0, 1)
        conv = block.downsamplers[0].conv
        components, _ = _principal_components(patches, min(conv.out_channels, 4 * rank))
        nn.init.normal_(conv.weight, std=0.01)
        nn.init.zeros_(conv.bias)
        conv.weight[: len(components)] = 0
        conv.weight[: len(components), :rank, :2, :2] = components.unflatten(1, (rank, 2, 2))
        h, rank = block.downsamplers[0](h), len(components)

    pixels = h[:, :rank].movedim(1, -1).flatten(0, -2)
    components, deviations = _principal_components(pixels, LATENT_CHANNELS)
    shortcut = encoder.down_blocks[-1].resnets[0].conv_shortcut
    nn.init.normal_(shortcut.weight, std=0.02)
    nn.init.zeros_(shortcut.bias)
    nn.init.normal_(encoder.conv_out.weight, std=0.002)
    nn.init.zeros_(encoder.conv_out.bias)
    encoder.conv_out.bias[LATENT_CHANNELS:] = -5  # log variance of the posterior
    groups = encoder.conv_norm_out.num_groups
    per_group = shortcut.out_channels // groups
    for group, chosen in enumerate(torch.arange(LATENT_CHANNELS).chunk(groups)):
        first = group * per_group
        scale = _anchor(shortcut, first, per_group, ANCHOR * deviations[chosen].max())
        for place, c in enumerate(chosen.tolist()):
            for sign, row in ((1, first + 2 + 2 * place), (-1, first + 3 + 2 * place)):
                shortcut.weight[row] = 0
                shortcut.weight[row, :rank, 0, 0] = sign * components[c]
                shortcut.bias[row] = -sign * components[c] @ pixels.mean(0)
                # halfway to white: the faint components are lifted, not made equal to the strong ones
                encoder.conv_out.weight[c, row, 1, 1] += sign * scale * deviations[c] ** -0.5


@torch.no_grad()
def _start_decoder(decoder: Any) -> None:
    nn.init.orthogonal_(decoder.conv_in.weight[:, :, 1, 1])
    for module in decoder.modules():
        if isinstance(module, Upsample2D):
            _identity(module.conv)
        if isinstance(module, ResnetBlock2D) and module.conv_shortcut is not None:
            _identity(module.conv_shortcut)
    shortcut = decoder.up_blocks[-1].resnets[0].conv_shortcut
    nn.init.normal_(shortcut.weight, std=0.02)
    nn.init.normal_(decoder.conv_out.weight, std=0.002)
    nn.init.zeros_(decoder.conv_out.bias)
    per_group = shortcut.out_channels // decoder.conv_norm_out.num_groups
    scale = _anchor(shortcut, 0, per_group, torch.tensor(4.0))
    for colour in range(3):
        for sign, row in ((1, 2 + 2 * colour), (-1, 3 + 2 * colour)):
            shortcut.weight[row] = 0
            shortcut.weight[row, colour] = sign
            decoder.conv_out.weight[colour, row, 1, 1] += sign * scale


def _anchor(shortcut: Any, first: int, per_group: int, height: Tensor) -> Tensor:
    """Make two channels of a group the constants +-height; return the deviation that the group then has."""
    assert per_group >= 8, "two anchors and three signed pairs need eight channels in a group"
    shortcut.weight[first : first + 2] = 0
    shortcut.bias[first] = height
    shortcut.bias[first + 1] = -height
    return height * (2 / per_group) ** 0.5


def _identity(conv: Any) -> None:
    """Pass the channels through (centre tap), with a little noise so that the spare ones can learn."""
    nn.init.normal_(conv.weight, std=0.02)
    nn.init.zeros_(conv.bias)
    middle = conv.kernel_size[0] // 2
    for channel in range(min(conv.in_channels, conv.out_channels)):
        conv.weight[channel, channel, middle, middle] += 1


def _principal_components(samples: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Unit components (`count` d) and standard deviations (`count`) of `samples` (n d), largest first."""
    values, vectors = torch.linalg.eigh(torch.cov(samples.T.double()))
    return vectors.flip(1)[:, :count].T.float(), values.flip(0)[:count].clamp(min=1e-12).sqrt().float()
