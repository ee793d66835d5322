"""`ec2ident-agent warm`, whole: files, and block devices of the kernel's loop driver."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ec2ident_agent.warm.command import NEEDLESS, command
from ec2ident_agent.warm.volume import BLOCK, INSTANCE_STORE, open_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

TOP = Path(__file__).parents[3]
PROGRAM = TOP / "agent/bin/ec2ident-agent"
#: The packages may be a wheel's, unpacked beside the tests.
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}
SIZE = 16 * BLOCK


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file to read."""
    path = tmp_path / "image"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def device(image: Path) -> Iterator[str]:
    """A block device of the loop driver, which is read-only: a write to it would be an error."""
    done = subprocess.run(
        ["losetup", "--find", "--show", "--read-only", image], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs a loop device: {done.stderr.strip()}")
    name = done.stdout.strip()
    yield name
    subprocess.run(["losetup", "--detach", name], check=True)


def warm(state: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The program, whole, with its positions in this directory."""
    argv = [sys.executable, str(PROGRAM), "warm", *map(str, words), "--state-dir", str(state)]
    return subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)


def sectors_read(device: str) -> int:
    """The kernel's own count of 512-byte sectors that were read (Documentation/admin-guide/iostats.rst, field 3)."""
    return int(Path(f"/sys/class/block/{Path(device).name}/stat").read_text().split()[2])


@pytest.mark.root
def test_the_kernel_counts_every_sector_of_the_device_as_read(device: str, tmp_path: Path) -> None:
    """The effect itself: what the block layer has counted, beside what the program says.

    Twice, because nothing is cached.
    """
    for _ in range(2):
        before = sectors_read(device)

        done = warm(tmp_path / "state", device)

        assert (0, "") == (done.returncode, done.stderr)
        assert re.fullmatch(rf"{device}: read: 16\.0 MiB in \d:\d\d, .*/s\n", done.stdout)
        assert sectors_read(device) - before == SIZE // 512
    assert not [*(tmp_path / "state").glob("*")]


@pytest.mark.root
def test_sectors_that_cannot_be_read_are_named(device: str, image: Path, tmp_path: Path) -> None:
    """The file behind the device was cut short, so that the kernel answers EIO.

    Exit code 4; the same command reads them again.
    """
    os.truncate(image, 12 * BLOCK)

    done = warm(tmp_path / "state", device)

    assert 4 == done.returncode
    where = f"bytes {12 * BLOCK}-{SIZE - 1}"
    assert "failed: 12.0 MiB in" in done.stdout
    assert f"4 blocks could not be read (Input/output error): {where}\n" in done.stdout
    os.truncate(image, SIZE)
    again = warm(tmp_path / "state", "--json", device)
    assert (0, 12 * BLOCK, 4 * BLOCK) == (again.returncode, *numbers(again.stdout))


def numbers(output: str) -> tuple[int, int]:
    """Where the only volume of a result began, and how much was read."""
    (volume,) = json.loads(output)["volumes"]
    return volume["first"], volume["done"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_where_it_was(image: Path, tmp_path: Path, sent: signal.Signals) -> None:
    """Ctrl-C, and the end of a systemd unit: what was read is not read again, and --restart reads all."""
    state = tmp_path / "state"
    argv = [sys.executable, str(PROGRAM), "warm", str(image), "--rate", "4", "--state-dir", str(state)]
    with subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        # A shell that starts the tests in the background has SIGINT ignored, and every process below it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        # By its kernel's count of its own reads it is in the middle.
        while int(re.findall(r"read_bytes: (\d+)|$", io_of(running.pid))[0] or SIZE) < 2 * BLOCK:
            assert running.poll() is None
        running.send_signal(sent)
        out, err = running.communicate(timeout=60)

    assert (130, "ec2ident-agent: interrupted\n") == (running.returncode, err)
    assert re.fullmatch(rf"{image}: interrupted: .*; at \d\.0 MiB of 16\.0 MiB; the same command goes on there\n", out)
    planned = warm(state, "--dry-run", image)
    assert (1, True) == (planned.returncode, "MiB of 16.0 MiB would be read" in planned.stdout)
    done = warm(state, "--json", image)
    assert 0 == done.returncode
    first, read = numbers(done.stdout)
    assert SIZE == first + read
    assert first > 0
    assert f"{image}: goes on at {first >> 20}.0 MiB of 16.0 MiB (--restart reads all)\n" == done.stderr
    assert (0, SIZE) == numbers(warm(state, "--json", image).stdout)


def io_of(pid: int) -> str:
    """The kernel's counters of a process that runs."""
    try:
        return Path(f"/proc/{pid}/io").read_text()
    except OSError:
        return ""


def test_restart_reads_all(image: Path, tmp_path: Path) -> None:
    """Whatever a position says."""
    from ec2ident_agent.warm.position import Positions

    volume = open_volume(str(image))
    Positions(str(tmp_path / "state")).write(volume.identity, 10 * BLOCK)
    volume.close()

    planned = warm(tmp_path / "state", "--dry-run", "--json", image)
    assert (10 * BLOCK, 0) == numbers(planned.stdout)
    assert (0, SIZE) == numbers(warm(tmp_path / "state", "--restart", "--json", image).stdout)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "warm: name the volumes, such as /dev/nvme1n1"),
        (("/dev/null",), "/dev/null: neither a block device nor a file"),
        (("/proc",), "/proc: neither a block device nor a file"),
        (("IMAGE", "/dev/nothing"), "/dev/nothing: no such device or file"),
        (("IMAGE/x",), "image/x: no such device or file"),
        (("IMAGE", "--rate", "0"), "--rate 0: not a number of MiB a second from 1 on"),
        (("IMAGE", "--depth", "0"), "--depth 0: not from 1 to 256"),
        (("IMAGE", "--depth", "257"), "--depth 257: not from 1 to 256"),
        (("IMAGE", "--depth", "x"), "--depth x: not a number"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_read(
    image: Path, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    """Exit code 2, before the first volume is read."""
    done = warm(tmp_path / "state", *(word.replace("IMAGE", str(image)) for word in words))

    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert says in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    """Opening a pipe for reading waits for its writer."""
    os.mkfifo(tmp_path / "pipe")

    assert 2 == warm(tmp_path / "state", tmp_path / "pipe").returncode


def test_a_file_that_may_only_be_read_is_read(image: Path, tmp_path: Path) -> None:
    """Nothing is ever opened for writing; the file is as before."""
    before = image.read_bytes()
    image.chmod(0o444)

    assert 0 == warm(tmp_path / "state", image).returncode
    assert before == image.read_bytes()


def test_the_rate_holds_for_all_volumes_together(image: Path, tmp_path: Path) -> None:
    """Two files of 16 MiB at 32 MiB a second take about a second; each alone at that rate half of it.

    The least time that the rate allows is asserted, which no busy machine shortens.
    """
    other = tmp_path / "other"
    other.write_bytes(bytes(SIZE))

    done = warm(tmp_path / "state", "--json", "--rate", "32", image, other)

    volumes: list[dict[str, Any]] = json.loads(done.stdout)["volumes"]
    assert [SIZE, SIZE] == [each["done"] for each in volumes]
    # The last block begins after all the others' time.
    assert max(each["seconds"] for each in volumes) >= (2 * SIZE - BLOCK) / (32 << 20)


def test_an_empty_file_is_read(tmp_path: Path) -> None:
    """There is nothing to read, and that is done."""
    (tmp_path / "empty").touch()

    assert (0, (0, 0)) == (
        (done := warm(tmp_path / "state", "--json", tmp_path / "empty")).returncode,
        numbers(done.stdout),
    )


# -- what the hardware says, by files as sysfs has them ---------------------------------------------------------------


def hardware(root: Path, device: str, *, serial: str, model: str, partition: str = "") -> str:
    """A tree like /sys in which the block device has this hardware."""
    found = os.stat(device)
    number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    disk = root / "devices/nvme1n1"
    (disk / "device").mkdir(parents=True)
    (disk / "device/serial").write_text(f"{serial}\n")
    (disk / "device/model").write_text(f"{model:40}\n")
    target = disk
    if partition:
        target = disk / "nvme1n1p1"
        target.mkdir()
        (target / "partition").write_text(f"{partition}\n")
    (root / "dev/block").mkdir(parents=True)
    (root / f"dev/block/{number}").symlink_to(target)
    return str(root)


@pytest.mark.root
@pytest.mark.parametrize("partition", ["", "1"])
def test_a_volume_is_known_by_its_serial_number(device: str, tmp_path: Path, partition: str) -> None:
    """EBS writes the volume's id there; another volume at the same device name after a reboot has another one."""
    sysfs = hardware(
        tmp_path, device, serial="vol0123456789abcdef0", model="Amazon Elastic Block Store", partition=partition
    )

    volume = open_volume(device, sysfs=sysfs)
    volume.close()

    assert f"volume vol0123456789abcdef0 partition {partition or 0} of {SIZE} bytes" == volume.identity
    assert ("Amazon Elastic Block Store", False) == (volume.model, volume.never_from_a_snapshot)


@pytest.mark.root
def test_a_volume_without_a_serial_number_is_known_within_a_boot(device: str, tmp_path: Path) -> None:
    """On Xen instances a disk has none."""
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("one\n")

    volume = open_volume(device, sysfs=str(tmp_path), proc=str(tmp_path))
    volume.close()

    assert re.fullmatch(rf"device \d+:\d+ in boot one of {SIZE} bytes", volume.identity)


@pytest.mark.root
def test_an_instance_store_needs_no_warming(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and the disk is not read; a volume of EBS is read, with the cases that make it needless."""
    from ec2ident_agent.warm import command as module

    sysfs = hardware(tmp_path, device, serial="AWS0123", model=INSTANCE_STORE)
    monkeypatch.setattr(module, "open_volume", lambda path: open_volume(path, sysfs=sysfs))
    before, said, logged = sectors_read(device), list[str](), list[str]()

    code = command(say=said.append, log=logged.append, paths=[device], state_dir=str(tmp_path / "state"))

    why = f"{device}: needless: its model is 'Amazon EC2 NVMe Instance Storage': its blocks never come from a snapshot"
    assert (0, [why], [], before) == (code, said, logged, sectors_read(device))
    (tmp_path / "devices/nvme1n1/device/model").write_text("Amazon Elastic Block Store\n")
    assert 0 == command(say=said.append, log=logged.append, paths=[device], state_dir=str(tmp_path / "state"))
    assert [f"{device}: {NEEDLESS}"] == logged
    assert SIZE // 512 == sectors_read(device) - before
