"""What loading costs beside the weights: a sharded folder of 2 GB. Nightly, for it writes 4 GB."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import torch
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForCausalLM

SHAPE = {"num_hidden_layers": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
TINY = {
    "vocab_size": 67, "hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 6, "num_key_value_heads": 2,
}


def write_wide_folder(folder: Path, total_bytes: int) -> None:
    """A llama of two wide blocks, bf16, in shards of 256 MiB; random bits with small exponents, one block repeated."""
    hidden, ffn, vocab = 4096, 16384, 8192
    config = LlamaConfig(**{
        **SHAPE, "hidden_size": hidden, "intermediate_size": ffn, "vocab_size": vocab, "num_attention_heads": 32,
        "num_key_value_heads": 32, "dtype": "bfloat16",
    })
    per_block = 2 * (4 * hidden * hidden + 3 * hidden * ffn + 2 * hidden)
    config.num_hidden_layers = round((total_bytes - 4 * vocab * hidden) / per_block)
    folder.mkdir()
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {n: list(p.shape) for n, p in LlamaForCausalLM(config).state_dict().items()}
    noise = (numpy.random.default_rng(1).integers(0, 1 << 16, 1 << 20, dtype=numpy.uint16) & 0xBFFF).tobytes()
    weight_map, shard, size = {}, {}, 0
    shards = []
    for name, shape in shapes.items():
        count = 2 * int(numpy.prod(shape))
        if shard and size + count > 256 << 20:
            shards.append(shard)
            shard, size = {}, 0
        shard[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [size, size + count]}
        size += count
    shards.append(shard)
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        header = json.dumps(shard).encode()
        with open(folder / name, "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            left = max(entry["data_offsets"][1] for entry in shard.values())
            while left > 0:
                left -= file.write(noise[:left])
        weight_map.update(dict.fromkeys(shard, name))
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


PEAK = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(json.dumps({"code": code, "kib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}))
"""


def peak_bytes(*arguments) -> int:
    """Largest resident memory of one penstock command. A process in between: the counter is a maximum over children."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, os.environ["PENSTOCK_BINARY"], *map(str, arguments)], capture_output=True,
        text=True, check=True,
    )
    result = json.loads(done.stdout)
    assert result["code"] == 0, done.stderr
    return 1024 * result["kib"]


def test_loading_two_gigabytes_takes_the_arena_and_little_more(tmp_path):
    tiny = tmp_path / "tiny"
    LlamaForCausalLM(LlamaConfig(**SHAPE, **TINY)).to(torch.bfloat16).save_pretrained(tiny)
    rest = peak_bytes("export", tiny, "--out", tmp_path / "tiny_out")

    wide = tmp_path / "wide"
    write_wide_folder(wide, 2 << 30)
    weight_bytes = sum(path.stat().st_size for path in wide.glob("*.safetensors"))
    assert weight_bytes > 1.8 * 2**30
    peak = peak_bytes("export", wide, "--out", tmp_path / "wide_out")
    # The program itself (LibTorch and all) is what the tiny model takes.
    assert peak - rest < weight_bytes + (256 << 20), f"{peak - rest - weight_bytes} bytes beside the arena"

    def digest(folder, name):
        with safe_open(next(p for p in sorted(folder.glob("*.safetensors")) if name in holders(p)), "pt") as file:
            return hashlib.sha1(file.get_tensor(name).view(torch.uint8).numpy().data).hexdigest()

    def holders(path):
        with safe_open(path, "pt") as file:
            return set(file.keys())

    for name in ("model.layers.1.mlp.down_proj.weight", "lm_head.weight"):
        assert digest(wide, name) == digest(tmp_path / "wide_out", name)
