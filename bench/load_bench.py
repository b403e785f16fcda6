"""Load rate of a sharded bf16 folder, page cache warm, interleaved, medians: ours beside `cat FILES >/dev/null` and
safetensors.torch.load_file, followed by a copy of every tensor: load_file itself only maps the file.

    .venv/bin/python bench/load_bench.py BUILD_DIR [--gigabytes 2] [--rounds 7]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM


def make_folder(folder: Path, gigabytes: float) -> int:
    hidden, ffn, vocab = 2048, 8192, 8192
    config = LlamaConfig(
        hidden_size=hidden, intermediate_size=ffn, vocab_size=vocab, num_attention_heads=16, num_key_value_heads=16,
        num_hidden_layers=max(1, round(gigabytes * 5e8 / (4 * hidden * hidden + 3 * hidden * ffn))), dtype="bfloat16",
    )
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="500MB")
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def cat_seconds(files: list[Path]) -> float:
    begin = time.perf_counter()
    with open("/dev/null", "wb") as sink:
        subprocess.run(["cat", *map(str, files)], stdout=sink, check=True)
    return time.perf_counter() - begin


def torch_seconds(files: list[Path]) -> float:
    begin = time.perf_counter()
    tensors = [load_file(path) for path in files]
    for shard in tensors:
        for tensor in shard.values():
            tensor.clone()
    return time.perf_counter() - begin


def our_seconds(binary: Path, folder: Path, readers: int) -> float:
    done = subprocess.run([binary, folder, str(readers)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    binary = (arguments.build / "bench" / "load_bench").resolve()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "model"
        total = make_folder(folder, arguments.gigabytes)
        files = sorted(folder.glob("*.safetensors"))
        ways = {
            "cat to /dev/null": lambda: cat_seconds(files),
            "safetensors.torch.load_file": lambda: torch_seconds(files),
            "penstock, 8 readers": lambda: our_seconds(binary, folder, 8),
            "penstock, 1 reader": lambda: our_seconds(binary, folder, 1),
        }
        cat_seconds(files)
        seconds = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name, run in ways.items():
                seconds[name].append(run())
    print(f"{total / 1e9:.2f} GB in {len(files)} shards, median of {arguments.rounds}")
    for name, values in seconds.items():
        print(f"{name:30} {total / 1e9 / statistics.median(values):7.2f} GB/s")


if __name__ == "__main__":
    main()
