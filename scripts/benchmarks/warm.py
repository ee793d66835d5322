"""How fast a block device is read whole, beside fio and dd, on a loop device of this machine.

warm.py [--quick]     the table: seconds and MiB a second of ec2ident-agent warm, fio at the same depth, and dd

The file behind the device is in memory where /dev/shm has room, so that the programs are compared and no disk is.
Rounds alternate between the programs; the best of each counts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "agent/bin/ec2ident-agent"
MIB = 1 << 20
#: fio's time divided by that of warm must be at least this.
WANTED = 0.95
DEPTH = 32


def main() -> int:
    """Print the table; returns 1 when the wanted ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller device and fewer rounds")
    quick = parser.parse_args().quick
    size, rounds = (1024, 4) if quick else (4096, 8)
    missing = [name for name in ("losetup", "fio", "dd") if not shutil.which(name)]
    if missing or os.geteuid():
        print(f"skipped: needs root and {', '.join(missing) or 'a loop device'}")
        return 0
    with tempfile.TemporaryDirectory(dir=roomy(size)) as folder:
        image = Path(folder) / "image"
        with image.open("wb") as file:
            for _ in range(size):
                file.write(os.urandom(MIB))
        device = subprocess.run(
            ["losetup", "--find", "--show", "--read-only", image], capture_output=True, text=True, check=True
        ).stdout.strip()
        try:
            return table(device, size, rounds, Path(folder))
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)


def roomy(size: int) -> str | None:
    """A directory in memory with room for this many MiB; None for the usual one."""
    free = os.statvfs("/dev/shm").f_bavail * os.statvfs("/dev/shm").f_frsize if Path("/dev/shm").is_dir() else 0
    return "/dev/shm" if free > 2 * size * MIB else None


def table(device: str, size: int, rounds: int, folder: Path) -> int:
    """Measure and print."""
    fio = ["fio", "--name=x", "--rw=read", "--bs=1M", "--direct=1", "--ioengine=libaio", f"--iodepth={DEPTH}"]
    commands = {
        "ec2ident-agent warm": [sys.executable, str(PROGRAM), "warm", device, "--state-dir", str(folder / "state")],
        "fio, libaio": [*fio, f"--filename={device}", "--readonly"],
        "dd bs=1M iflag=direct": ["dd", f"if={device}", "of=/dev/null", "bs=1M", "iflag=direct"],
        "dd bs=1M": ["dd", f"if={device}", "of=/dev/null", "bs=1M"],
    }
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(rounds):
        for name, argv in commands.items():
            # Only plain dd reads through the page cache.
            subprocess.run(["blockdev", "--flushbufs", device], check=True)
            began = time.perf_counter()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
            best[name] = min(best[name], time.perf_counter() - began)
    print(f"{size} MiB on a loop device, reads of 1 MiB, {DEPTH} at the same time; best of {rounds}, whole processes")
    for name, seconds in best.items():
        print(f"  {name:24} {seconds:7.3f} s {size / seconds:8.0f} MiB/s  {seconds / best['fio, libaio']:5.2f} × fio")
    ratio = best["fio, libaio"] / best["ec2ident-agent warm"]
    print(f"speed of fio that is reached: {ratio:.2f} (wanted {WANTED}): {'yes' if ratio >= WANTED else 'NO'}")
    return 0 if ratio >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
