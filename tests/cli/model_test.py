"""Which tensors are trained, and heads that are too large for the device, as a user spells it."""

import json

import pytest
import torch
from penstock_runner import penstock, penstock_json
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM


@pytest.fixture
def folder(qwen3_folder):
    return qwen3_folder


FREEZE = ["tokenizer=none", "path=tokens.jsonl", "max_seq_len=32", "learning_rate=1e-2", "max_steps=2",
          "training.output_dir=run", "overwrite_output_dir=true"]


def test_freeze_tuning_trains_the_last_blocks_or_the_first(folder):
    (folder / "freeze.yaml").write_text("model_name_or_path: Tiny_Qwen3\n")
    before = Qwen3ForCausalLM.from_pretrained(folder / "Tiny_Qwen3").state_dict()
    for layers, trained in [("1", {2}), ("-2", {0, 1}), (None, {1, 2})]:
        options = ["finetuning_type=freeze"] + ([f"freeze_trainable_layers={layers}"] if layers else [])
        run = penstock("train", "freeze.yaml", *FREEZE, "state_format=float32", *options, cwd=folder)
        assert "of them trained" in run.err
        after = Qwen3ForCausalLM.from_pretrained(folder / "run/model").state_dict()
        moved = {name for name in before if not before[name].equal(after[name])}
        assert {int(name.split(".")[2]) for name in moved} == trained
        assert all(name.startswith("model.layers.") for name in moved)


def test_trainable_patterns(folder):
    (folder / "freeze.yaml").write_text("model_name_or_path: Tiny_Qwen3\n")
    penstock("train", "freeze.yaml", *FREEZE, 'trainable=["*.mlp.*", "model.norm.weight"]', cwd=folder)
    resumed = penstock("train", "run/config.yaml", "resume_from_checkpoint=auto", "max_steps=3", cwd=folder)
    assert "step 3" in resumed.err
    gradients = penstock_json("gradients", "freeze.yaml", *FREEZE, "trainable=*_norm.weight", "--out", "g.safetensors",
                              cwd=folder)
    assert gradients["gradient_norm"] > 0
    for wrong, says in [("trainable=nothing", "matches no tensor"), ("finetuning_type=lora", "full | freeze"),
                        ("finetuning_type=freeze freeze_trainable_layers=9", "3 blocks"),
                        ("finetuning_type=freeze freeze_trainable_layers=0", "trains nothing"),
                        ("freeze_trainable_layers=1", "finetuning_type"),
                        ("finetuning_type=freeze trainable=*", "leave one of them out")]:
        refused = penstock("train", "freeze.yaml", *FREEZE, *wrong.split(), cwd=folder, expect=65)
        assert says in refused.err, refused.err


def transformers_loss(model, path):
    total, count = 0.0, 0
    for line in path.read_text().splitlines():
        ids = torch.tensor([json.loads(line)["input_ids"]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    return total / count


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "smollm3"])
def test_a_new_model_of_every_family_is_the_same_in_transformers(folder, family):
    """Four blocks: one of a smollm3's has no positions."""
    keys = {
        "model_type": family, "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3, "tokenizer": "none",
        "path": "tokens.jsonl", "eval_path": "tokens.jsonl", "max_seq_len": 32, "max_steps": 2, "learning_rate": 1e-2,
        "state_format": "float32", "compute_dtype": "float32", "max_new_tokens": 0, "output_dir": "run",
    }
    if family not in ("qwen2", "smollm3"):  # these have no such field
        keys["head_dim"] = 16
    (folder / "new.yaml").write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
    penstock("train", "new.yaml", cwd=folder)
    ours = penstock_json("eval", "run", cwd=folder)["loss"]
    model = AutoModelForCausalLM.from_pretrained(folder / "run/model", dtype=torch.float32)
    assert model.config.model_type == family
    assert transformers_loss(model, folder / "tokens.jsonl") == pytest.approx(ours, rel=1e-5)


def test_a_hub_id_is_found_in_the_local_cache(folder):
    """As huggingface_hub lays it out: a ref names the commit, its files are links to blobs."""
    cache = folder / "hf/hub/models--me--tiny"
    snapshot = cache / "snapshots/0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text(snapshot.name)
    for number, path in enumerate(sorted((folder / "Tiny_Qwen3").iterdir())):
        path.rename(cache / f"blobs/{number}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    home = {"HF_HOME": str(folder / "hf"), "HF_HUB_CACHE": ""}
    (folder / "hub.yaml").write_text("model_name_or_path: me/tiny\n")
    run = penstock("train", "hub.yaml", *FREEZE, cwd=folder, env=home)
    assert "done: step 2" in run.out
    assert "me/tiny" in (folder / "run/config.yaml").read_text(), "the id, not this machine's path"
    penstock("export", "run", "--out", "exported", cwd=folder, env=home)
    Qwen3ForCausalLM.from_pretrained(folder / "exported")
    missing = penstock("train", "hub.yaml", *FREEZE, "model_name_or_path=me/other", cwd=folder, env=home, expect=65)
    assert "hf download me/other" in missing.err


SHAPE = """\
vocab_size: 20000
tie_word_embeddings: true
hidden_size: 64
intermediate_size: 96
num_hidden_layers: 2
num_attention_heads: 2
tokenizer: none
path: tokens.jsonl
max_seq_len: 24
state_format: float32
compute_dtype: float32
"""


def test_a_head_too_large_for_the_device_comes_in_parts(folder):
    (folder / "head.yaml").write_text(SHAPE)
    whole = penstock_json("plan", "head.yaml", cwd=folder)["device_bytes"]
    limit = f"device.memory_gb={whole * 0.8 / 2**30}"
    assert "does not fit" in penstock("plan", "head.yaml", limit, "memory.head_parts=1", cwd=folder, expect=69).err
    split = penstock("plan", "head.yaml", limit, "--json", cwd=folder)
    assert "parts of its vocabulary" in split.err
    schedule = penstock("plan", "head.yaml", limit, "--schedule", cwd=folder).out
    assert "HeadStatistics(H.1,m0)" in schedule and "HeadGradient(H.0,m0)" in schedule
    losses = {}
    for name, options in [("whole", []), ("split", [limit])]:
        losses[name] = penstock_json("gradients", "head.yaml", *options, "--out", f"{name}.safetensors", cwd=folder)
    assert losses["split"]["loss"] == pytest.approx(losses["whole"]["loss"], rel=1e-6)
    assert losses["split"]["gradient_norm"] == pytest.approx(losses["whole"]["gradient_norm"], rel=1e-5)
    run = penstock("train", "head.yaml", limit, "max_steps=2", "max_new_tokens=0", "training.output_dir=run",
                   cwd=folder)
    assert "done: step 2" in run.out
    parts = [line.strip() for line in (folder / "run/config.yaml").read_text().splitlines() if "head_parts" in line]
    assert parts and parts[0] not in ("head_parts: auto", "head_parts: 1"), "a resume must round the same way"


def test_rows_longer_than_the_positions(folder):
    (folder / "long.yaml").write_text(SHAPE + "max_position_embeddings: 8\n")
    # The configuration's own shape refuses what a folder's may only warn about.
    penstock("plan", "long.yaml", cwd=folder, expect=65)
    warned = penstock("plan", "Tiny_Qwen3", "tokenizer=none", "path=tokens.jsonl", "max_seq_len=128", cwd=folder)
    assert "max_position_embeddings 64" in warned.err
    for scaled, code in [("linear", 0), ("dynamic", 65)]:
        config = Qwen3Config.from_pretrained(folder / "Tiny_Qwen3")
        config.rope_parameters = {"rope_type": scaled, "factor": 2.0, "rope_theta": 10000.0}
        config.save_pretrained(folder / "Tiny_Qwen3")
        done = penstock("plan", "Tiny_Qwen3", "tokenizer=none", "path=tokens.jsonl", "max_seq_len=128", cwd=folder,
                        expect=code)
        assert "max_position_embeddings" in done.err
