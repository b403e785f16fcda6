"""Runs a peer and watches it: peak memory of the card and of its processes, from outside, alike for every peer."""

import os
import pathlib
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass

POLL_SECONDS = 0.2


@dataclass
class Outcome:
    code: int | None  # None: it took longer than allowed
    out: str
    err: str
    device_peak_bytes: int
    host_peak_bytes: int


def nvidia_smi(query, index=None):
    """Rows of a query, or an empty list without a driver."""
    program = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path="/usr/lib/wsl/lib")
    if not program:
        return []
    command = [program, f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    command += ["-i", str(index)] if index is not None else []
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = result.stdout.splitlines() if result.returncode == 0 else []
    return [[field.strip() for field in row.split(",")] for row in rows]


def device_bytes(index):
    rows = nvidia_smi("memory.used", index)
    return int(rows[0][0]) << 20 if rows and rows[0][0].isdigit() else 0


def tree_bytes(root):
    """Resident bytes of a process and all its descendants. A page that two of them share counts twice."""
    parents, resident = {}, {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        resident[int(entry.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")

    def belongs(process):
        while process in parents and process != root:
            process = parents[process]
        return process == root

    return sum(size for process, size in resident.items() if belongs(process))


class Watch:
    """Polls until stopped. What the card already held before the process started is not the peer's."""

    def __init__(self, process, index, before):
        self.process, self.index, self.before = process, index, before
        self.device_peak = self.host_peak = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.poll, daemon=True)
        self.thread.start()

    def poll(self):
        while not self.ended.is_set():
            if self.index is not None:
                self.device_peak = max(self.device_peak, device_bytes(self.index) - self.before)
            self.host_peak = max(self.host_peak, tree_bytes(self.process.pid))
            self.ended.wait(POLL_SECONDS)

    def stop(self):
        self.ended.set()
        self.thread.join()


def run_watched(command, folder, environment, device_index, timeout):
    """The whole process group ends with the time limit."""
    before = device_bytes(device_index) if device_index is not None else 0
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, text=True, errors="replace",
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)
    watch = Watch(process, device_index, before)
    try:
        out, err = process.communicate(timeout=timeout)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        code = None
    finally:
        watch.stop()
    return Outcome(code, out, err, watch.device_peak, watch.host_peak)


def wait_until_free(index, allowed, seconds=60):
    """A card gives memory back a moment after a process has ended."""
    end = time.monotonic() + seconds
    while index is not None and device_bytes(index) > allowed and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
