"""32-bit Arm under Linux, hard floats: NEON where the CPU says so (asm/hwcap.h)."""

from hwnas.kernels.machine import Architecture, Instruction

_HWCAP = (16,)  # a key of the auxiliary vector, linux/auxvec.h

ARCHITECTURE = Architecture(
    triple=r"armv[78][a-z]*(-\w+)?-linux-(gnu|musl)eabihf",
    prefixes=("arm",),
    hosts=("armv7", "armv7l"),
    float_abi="hard",
    needed=("vfp3d16sp",),
    needed_in_words="a VFPv3 unit",
    linker="arm-linux-musleabihf",
    linker_cpu="+v7a+vfp3d16",
    emulator=("qemu-arm", "-cpu", "max"),
    kernels_linker=("-target", "arm-linux-musleabihf"),
    kernels_emulator=("qemu-arm", "-cpu", "max"),
    asks="auxiliary vector",
    instructions={
        "neon": Instruction("neon", _HWCAP, 12),
        "vfp3": Instruction("vfpv3", _HWCAP, 13),
        "vfp4": Instruction("vfpv4", _HWCAP, 16),
        "hwdiv-arm": Instruction("idiva", _HWCAP, 17),
        "hwdiv": Instruction("idivt", _HWCAP, 18),
    },
)
