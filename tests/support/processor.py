"""What this processor is good at: some tests take minutes in a precision that it only imitates."""

import torch

HALF_IS_FAST = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # has instructions for bfloat16
