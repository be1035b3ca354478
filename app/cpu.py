"""The CPU of this machine: its name, and its instructions for INT8 and bfloat16."""

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
FEATURES = {
    "AVX2": {"avx2"},
    "AVX-VNNI": {"avx_vnni"},
    "AVX-512": {"avx512f", "avx512bw", "avx512vl"},
    "AVX-512 VNNI": {"avx512_vnni"},
    "AVX-512 BF16": {"avx512_bf16"},
    "AMX-INT8": {"amx_tile", "amx_int8"},
    "AMX-BF16": {"amx_tile", "amx_bf16"},
    "NEON": {"asimd"},
    "dotprod": {"asimddp"},
    "i8mm": {"i8mm"},
    "bf16": {"bf16"},
    "SVE": {"sve"},
}
"""Instruction sets that matter to the kernels of matrix products (x86, then Arm) -> the Linux CPU flags that they need.

Linux's names: arch/x86/include/asm/cpufeatures.h, and https://docs.kernel.org/arch/arm64/elf_hwcaps.html."""


@dataclass(frozen=True)
class Cpu:
    """model: the name that the CPU reports. features: its instruction sets among `FEATURES`.

    A library need not use all of them: each one detects the CPU itself and chooses its kernels.
    """

    model: str
    features: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.model}, with {', '.join(self.features) or 'instruction sets that are not known'}"


@cache
def this_cpu() -> Cpu:
    """The CPU of this machine as Linux describes it; on other systems a name without features."""
    return read_cpu(CPU_INFO)


def read_cpu(path: Path) -> Cpu:
    """The first core in a file in the format of /proc/cpuinfo; unknown fields are left out."""
    try:
        core, _, _ = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")
    except OSError:
        core = ""
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in core.splitlines())}
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    features = tuple(name for name, needed in FEATURES.items() if needed <= flags)
    return Cpu(_model(fields) or platform.processor() or platform.machine(), features)


def _model(fields: dict[str, str]) -> str:
    """The model name. On Arm, Linux reports only the implementer and the part number of a core."""
    if "model name" in fields:
        return fields["model name"]
    if "CPU part" in fields:
        return f"Arm, implementer {fields.get('CPU implementer', 'unknown')}, part {fields['CPU part']}"
    return ""
