from pathlib import Path

import pytest

from app.cpu import CPU_INFO, Cpu, read_cpu, this_cpu

SAPPHIRE_RAPIDS = (
    "fpu sse4_2 avx avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx_vnni avx512_bf16 avx512_vnni amx_bf16 "
    "avx512_fp16 amx_tile amx_int8"
)
CASES = {
    "Sapphire Rapids": (
        f"processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C\nflags\t\t: {SAPPHIRE_RAPIDS}\nbugs\t\t:\n",
        "Intel(R) Xeon(R) Platinum 8481C",
        ("AVX2", "AVX-VNNI", "AVX-512", "AVX-512 VNNI", "AVX-512 BF16", "AMX-INT8", "AMX-BF16"),
    ),
    "Rome: neither VNNI nor AVX-512": (
        "processor\t: 0\nmodel name\t: AMD EPYC 7B12\nflags\t\t: fpu sse4_2 avx avx2 sha_ni\n",
        "AMD EPYC 7B12",
        ("AVX2",),
    ),
    "Xeon Phi: AVX-512 without BW and VL": (
        "model name\t: Intel(R) Xeon Phi(TM)\nflags\t\t: avx avx2 avx512f avx512cd avx512er avx512pf\n",
        "Intel(R) Xeon Phi(TM)",
        ("AVX2",),
    ),
    "Graviton3": (
        "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp sve i8mm bf16\nCPU implementer\t: 0x41\n"
        "CPU part\t: 0xd40\n",
        "Arm, implementer 0x41, part 0xd40",
        ("NEON", "dotprod", "i8mm", "bf16", "SVE"),
    ),
    "Raspberry Pi 4": (
        "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n",
        "Arm, implementer 0x41, part 0xd08",
        ("NEON",),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_model_and_features_are_those_of_the_first_core(case: str, tmp_path: Path) -> None:
    text, model, features = CASES[case]
    path = tmp_path / "cpuinfo"
    path.write_text(f"{text}\nprocessor\t: 1\nmodel name\t: another\nflags\t\t: avx2 avx_vnni\n", encoding="utf-8")
    assert read_cpu(path) == Cpu(model, features)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe no field\n", b"flags\nmodel name"])
def test_elsewhere_there_is_a_name_at_most(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    if content is not None:
        path.write_bytes(content)
    assert read_cpu(path).features == ()


def test_this_one() -> None:
    assert this_cpu().model
    if CPU_INFO.exists():
        words = set(CPU_INFO.read_text(encoding="utf-8").split())
        assert ("AVX2" in this_cpu().features) == ("avx2" in words)


def test_it_can_be_read_by_people() -> None:
    assert str(Cpu("AMD EPYC 7B12", ("AVX2", "AVX-VNNI"))) == "AMD EPYC 7B12, with AVX2, AVX-VNNI"
    assert str(Cpu("arm64", ())) == "arm64, with instruction sets that are not known"
