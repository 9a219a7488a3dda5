"""What is recorded of a machine tells apart what computes differently."""

import platform

import pytest
import torch

from cgidm.run.provenance import name_processor

X86 = "processor\t: {n}\nmodel name\t: Some Processor\nflags\t\t: fpu avx512f {flags} sse2\n\n"


@pytest.mark.parametrize(
    ("told", "name", "more"),
    [
        (X86.format(n=0, flags="") + X86.format(n=1, flags=""), "Some Processor", ""),
        (X86.format(n=0, flags="avx512_bf16 amx_bf16"), "Some Processor", ", amx_bf16, avx512_bf16"),
        ("processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n", platform.processor() or platform.machine(), ", bf16"),
        (None, platform.processor() or platform.machine(), ""),
    ],
    ids=["x86", "x86 with bfloat16", "ARM", "another system"],
)
def test_processors_of_one_name_are_told_apart_by_their_bfloat16(tmp_path, told, name, more):
    file = tmp_path / "cpuinfo"
    if told is not None:
        file.write_text(told)
    assert name_processor(file) == f"{name} ({torch.backends.cpu.get_cpu_capability()}{more})"
