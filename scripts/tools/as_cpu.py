"""Run a command as if this CPU had fewer instruction sets, to measure speed and results of other CPUs on one machine.

    python scripts/tools/as_cpu.py avx2 -- python scripts/tools/operator_times.py models/onnx/model_int8.onnx
    python scripts/tools/as_cpu.py vnni -- make test

Libraries that use CPUID (ONNX Runtime, OpenVINO, PyTorch) then choose the kernels of that CPU. `/proc/cpuinfo` still
shows the real CPU. Needs a C compiler, and CPUID faulting (the flag `cpuid_fault`), which most Intel CPUs and newer AMD
CPUs support under Linux.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().with_name("cpuid_mask.c")
EAX, EBX, ECX, EDX = range(4)
Bits = dict[tuple[int, int, int], tuple[int, ...]]
"""(leaf, subleaf, register) of CPUID -> bits. Source: Intel 64 and IA-32 Architectures Software Developer's Manual,
volume 2, CPUID."""

AMX: Bits = {(7, 0, EDX): (22, 24, 25), (7, 1, EAX): (21,), (7, 1, EDX): (8,)}
"""AMX-BF16, AMX-TILE, AMX-INT8; AMX-FP16; AMX-COMPLEX."""
VNNI_512: Bits = {(7, 0, ECX): (11,), (7, 0, EDX): (23,), (7, 1, EAX): (5,)}
"""AVX-512 VNNI, and the later AVX-512 FP16 and BF16."""
VNNI_256: Bits = {(7, 1, EAX): (4, 23), (7, 1, EDX): (4, 5, 10, 19)}
"""AVX-VNNI, AVX-IFMA, AVX-VNNI-INT8, AVX-NE-CONVERT, AVX-VNNI-INT16, AVX10."""
AVX_512: Bits = {(7, 0, EBX): (16, 17, 21, 26, 27, 28, 30, 31), (7, 0, ECX): (1, 6, 12, 14), (7, 0, EDX): (2, 3, 8)}
"""AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL, VBMI, VBMI2, BITALG, VPOPCNTDQ, 4VNNIW, 4FMAPS, VP2INTERSECT."""

HIDDEN: dict[str, tuple[Bits, ...]] = {
    "avx2": (AMX, VNNI_512, VNNI_256, AVX_512),
    "avx-vnni": (AMX, VNNI_512, AVX_512),
    "avx512": (AMX, VNNI_512, VNNI_256),
    "vnni": (AMX,),
}
"""Kind of CPU -> the instructions that it does not have. The kinds are AVX2 only (Haswell, Zen 2 and 3), AVX2 with VNNI
(Alder Lake), AVX-512 without VNNI (Skylake), and AVX-512 with VNNI but without AMX (Ice Lake, Zen 4)."""


def mask_of(kind: str) -> str:
    """The value of the variable CPUID_MASK, which `cpuid_mask.c` reads."""
    return ",".join(_entries(HIDDEN[kind]))


def _entries(sets: Iterable[Bits]) -> Iterator[str]:
    for bits_by_place in sets:
        for place, bits in bits_by_place.items():
            for bit in bits:
                yield ".".join(map(str, (*place, bit)))


def run_as(kind: str, command: list[str]) -> int:
    """Run a command as if on that kind of CPU. Returns its exit status; 125 if this machine cannot hide instructions.

    Raises OSError if the C compiler or the command does not exist, and CalledProcessError if the compiler fails.
    """
    with tempfile.TemporaryDirectory(prefix="dikte-cpuid-") as folder:
        library = Path(folder) / "cpuid_mask.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
        preloaded = f"{library} {os.environ.get('LD_PRELOAD', '')}".strip()
        return subprocess.run(
            command, env=os.environ | {"CPUID_MASK": mask_of(kind), "LD_PRELOAD": preloaded}
        ).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=tuple(HIDDEN), help="the newest instructions that stay visible")
    parser.add_argument("command", nargs="+", help="the command and its arguments, after --")
    arguments = parser.parse_args()
    try:
        sys.exit(run_as(arguments.kind, arguments.command))
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
