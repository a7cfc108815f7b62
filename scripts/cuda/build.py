#!/usr/bin/env python3
"""Compile the CUDA kernels to PTX, and with --cubins also to machine code.

    scripts/cuda/build.py            write gpurunner/device/cuda/kernels/ptx
    scripts/cuda/build.py --check    fail if what is there differs from its source
    scripts/cuda/build.py --cubins   write gpurunner/device/cuda/kernels/cubin

The compilers come from the package index as pinned wheels, into .cache/cuda:
NVRTC and ptxas of CUDA 12.1, whose PTX is version 8.1, which driver 530 and
later read. No GPU, driver or toolkit is needed.
"""

import argparse
import concurrent.futures
import ctypes
import hashlib
import os
import pathlib
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / "gpurunner/device/cuda/kernels"
CACHE = ROOT / ".cache/cuda"
WHEELS = pathlib.Path(__file__).with_name("requirements.txt")

# Each family of kernels, and the architectures for which it exists: the f32
# path runs everywhere; tensor cores take f16 from 7.5 on, bf16 from 8.0 on.
FAMILIES = {
    "products": [75],
    "attention": [75],
    "norms": [75],
    "elementwise": [75],
    "training": [75],
    "mma_products": [75, 80],
    "mma_wide": [90],
    "mma_attention": [75, 80],
}
# What ptxas makes machine code for. That for 8.6 serves Ada's 8.9 as well.
CUBINS = [75, 80, 86, 90]


def toolchain():
    """Return the folder of the unpacked wheels, fetching them once."""
    root = CACHE / "toolkit"
    stamp = root / ".complete"
    want = WHEELS.read_text()
    if stamp.exists() and stamp.read_text() == want:
        return root / "nvidia"
    wheels = CACHE / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:",
         "--platform", "manylinux1_x86_64", "-d", str(wheels), "-r", str(WHEELS)], check=True)
    for wheel in wheels.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(root)
    for tool in (root / "nvidia/cuda_nvcc/bin").iterdir():
        tool.chmod(0o755)
    stamp.write_text(want)
    return root / "nvidia"


class Compiler:
    """NVRTC, by ctypes."""

    def __init__(self, folder):
        # It opens its builtins by name, so they are loaded first.
        ctypes.CDLL(str(folder / "cuda_nvrtc/lib/libnvrtc-builtins.so.12.1"), mode=ctypes.RTLD_GLOBAL)
        self.lib = ctypes.CDLL(str(folder / "cuda_nvrtc/lib/libnvrtc.so.12"))

    def check(self, code, what):
        if code:
            self.lib.nvrtcGetErrorString.restype = ctypes.c_char_p
            sys.exit(f"{what}: {self.lib.nvrtcGetErrorString(code).decode()}")

    def text(self, program, kind):
        size = ctypes.c_size_t()
        getattr(self.lib, f"nvrtcGet{kind}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.lib, f"nvrtcGet{kind}")(program, buffer)
        return buffer.value.decode()

    def ptx(self, source, arch):
        program = ctypes.c_void_p()
        self.check(self.lib.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None),
                   source.name)
        options = [f"--gpu-architecture=compute_{arch}", "-fmad=false", "--std=c++17", f"--include-path={KERNELS}"]
        code = self.lib.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*(o.encode() for o in options)))
        log = self.text(program, "ProgramLog").strip()
        if log:
            print(log, file=sys.stderr)
        self.check(code, f"{source.name} for compute_{arch}")
        ptx = self.text(program, "PTX")
        self.lib.nvrtcDestroyProgram(ctypes.byref(program))
        return ptx


def modules():
    for family, archs in FAMILIES.items():
        for arch in archs:
            yield family, arch


def digest():
    """Hash the sources, for a test that needs no compiler."""
    h = hashlib.sha256()
    for source in sorted(KERNELS.glob("*.cu*")):
        if source.is_file():
            h.update(f"{source.name} {hashlib.sha256(source.read_bytes()).hexdigest()}\n".encode())
    return h.hexdigest() + "\n"


def build_ptx(compiler, check):
    stale = []
    kept = {KERNELS / "ptx" / f"{family}_{arch}.ptx" for family, arch in modules()}
    for family, arch in modules():
        path = KERNELS / "ptx" / f"{family}_{arch}.ptx"
        text = compiler.ptx(KERNELS / f"{family}.cu", arch)
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.name)
        if not check:
            path.write_text(text)
    stale += [p.name for p in (KERNELS / "ptx").glob("*.ptx") if p not in kept]
    stamp = KERNELS / "ptx/sources.sha256"
    if check and (not stamp.exists() or stamp.read_text() != digest()):
        stale.append(stamp.name)
    elif not check:
        stamp.write_text(digest())
    if check and stale:
        sys.exit(f"PTX differs from its source: {', '.join(stale)}; run scripts/cuda/build.py")
    print(f"{len(kept)} modules, {len(stale)} {'changed' if stale else 'changes'}")


def build_cubins(folder):
    def build(family, arch, target):
        source = KERNELS / "ptx" / f"{family}_{arch}.ptx"
        out = KERNELS / "cubin" / f"{family}_{target}.cubin"
        done = subprocess.run([str(folder / "cuda_nvcc/bin/ptxas"), f"--gpu-name=sm_{target}", "--fmad=false", "-v", "-o", str(out), str(source)],
                              check=True, capture_output=True, text=True)
        spills = [line for line in done.stderr.splitlines() if "spill" in line and " 0 bytes spill" not in line]
        return f"{out.name}: {out.stat().st_size} bytes" + (f", {len(spills)} kernels spill" if spills else "")

    # Each target takes the highest variant that is not above it.
    work = [(family, max(a for a in archs if a <= target), target) for family, archs in FAMILIES.items() for target in CUBINS if min(archs) <= target]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for line in pool.map(lambda w: build(*w), work):
            print(line, flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--cubins", action="store_true")
    arguments.add_argument("--headers", action="store_true", help="print the folder of cuda.h")
    options = arguments.parse_args()
    folder = toolchain()
    if options.headers:
        print(folder / "cuda_runtime/include")
        return
    if options.cubins:
        build_cubins(folder)
        return
    build_ptx(Compiler(folder), options.check)


if __name__ == "__main__":
    main()
