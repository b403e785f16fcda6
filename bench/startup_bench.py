"""Seconds from the command to the end of the first step, by phase, for a model of about 4 GB of host bytes that comes
from a Hugging Face folder (`exact`, 14 bytes per parameter). Beside it in the same rounds: `cat FILES >/dev/null` and a
copy from memory to memory with all cores. Goal: weights load at 80% of the slower of the two. With the folder in the
page cache, and with it dropped; medians.

    .venv/bin/python bench/startup_bench.py BUILD_DIR [--gigabytes 4] [--rounds 5]

Needs twice the host bytes in RAM for a while, and a seventh of them on disk.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from load_bench import cat_seconds, make_folder

HOST_BYTES_PER_PARAMETER, FILE_BYTES_PER_PARAMETER = 14, 2
LINE = re.compile(r"start-up ([\d.]+) s: (.*)")
PHASE = re.compile(r"([a-z ]+?) ([\d.]+)(?: \(([^)]*)\))?(?:, |$)")
GOAL = 0.8

CONFIG = """\
model_name_or_path: model
path: tokens.jsonl
tokenizer: none
max_seq_len: 64
per_device_train_batch_size: 1
max_steps: 2
save_strategy: "no"
backend: host
output_dir: run
overwrite_output_dir: true
"""


def drop_from_page_cache(files: list[Path]) -> None:
    for path in files:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def copy_seconds(source: torch.Tensor, target: torch.Tensor) -> float:
    begin = time.perf_counter()
    target.copy_(source)
    return time.perf_counter() - begin


def start_up(binary: Path, folder: Path) -> dict[str, float]:
    """Seconds by phase, and `command` as seen from here. The run ends as soon as it has said them."""
    begin = time.perf_counter()
    with subprocess.Popen([binary, "train", "config.yaml"], cwd=folder, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as process:
        output = []
        for line in process.stderr:
            output.append(line)
            if found := LINE.search(line):
                seconds = time.perf_counter() - begin
                process.kill()
                phases = {name.strip(): float(value) for name, value, _ in PHASE.findall(found[2])}
                return {**phases, "all": float(found[1]), "command": seconds}
    sys.exit("penstock train ended without saying its start-up:\n" + "".join(output[-10:]))


def measure(binary: Path, folder: Path, files: list[Path], rounds: int) -> list[dict]:
    source = torch.ones(1 << 28)
    target = torch.zeros_like(source)
    measured = []
    for _ in range(rounds):
        for cache in ("warm", "dropped"):
            row = {"cache": cache, "copy": source.nbytes / copy_seconds(source, target) / 1e9}
            for name, run in (("cat", lambda: cat_seconds(files)), ("phases", lambda: start_up(binary, folder))):
                if cache == "dropped":
                    drop_from_page_cache(files)
                row[name] = run()
            measured.append(row)
    return measured


def print_table(measured: list[dict], file_bytes: int) -> None:
    for cache in ("warm", "dropped"):
        rows = [row for row in measured if row["cache"] == cache]
        phases = {name: statistics.median(row["phases"][name] for row in rows) for name in rows[0]["phases"]}
        cat = file_bytes / 1e9 / statistics.median(row["cat"] for row in rows)
        copy = statistics.median(row["copy"] for row in rows)
        load = file_bytes / 1e9 / phases["weights"]
        share = statistics.median(  # of single rounds
            file_bytes / 1e9 / row["phases"]["weights"] / min(file_bytes / 1e9 / row["cat"], row["copy"])
            for row in rows)
        listed = ", ".join(f"{name} {value:.2f}" for name, value in phases.items() if name not in ("all", "command"))
        print(f"page cache {cache}: first step after {phases['all']:.2f} s ({phases['command']:.2f} s of the command)")
        print(f"  {listed}")
        print(f"  weights {load:.2f} GB/s, cat {cat:.2f} GB/s, copy {copy:.2f} GB/s: "
              f"load over the slower {share:.2f}, goal {GOAL}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    binary = (arguments.build / "penstock").resolve()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        total = make_folder(folder / "model", arguments.gigabytes * FILE_BYTES_PER_PARAMETER / HOST_BYTES_PER_PARAMETER)
        files = sorted((folder / "model").glob("*.safetensors"))
        (folder / "config.yaml").write_text(CONFIG)
        (folder / "tokens.jsonl").write_text(
            "".join(json.dumps({"input_ids": [(7 * i + j) % 97 for j in range(64)]}) + "\n" for i in range(64)))
        os.sync()  # only what is on disk can be dropped from the page cache
        cat_seconds(files)
        start_up(binary, folder)
        measured = measure(binary, folder, files, arguments.rounds)
    host_bytes = total // FILE_BYTES_PER_PARAMETER * HOST_BYTES_PER_PARAMETER
    print(f"{total / 1e9:.2f} GB of weights in {len(files)} shards, {host_bytes / 1e9:.2f} GB of host memory; "
          f"median of {arguments.rounds}")
    print_table(measured, total)


if __name__ == "__main__":
    main()
