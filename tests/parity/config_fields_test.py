"""Every field of config.json is honoured as transformers honours it, or refused by name. None is silently ignored.

One field at a time is changed; transformers and Penstock then read the very same folder.
"""

import copy
import json
import os
import random
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tiny_models import loss_and_gradients
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "smollm3"]
LENGTH = 12
SHAPE = {
    "vocab_size": 61, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": [2, 3],
    "pad_token_id": 0, "initializer_range": 0.2, "rms_norm_eps": 1e-5, "dtype": "float32",
}
# What makes the other fields of a family matter.
ACTIVE = {
    "llama": {},
    "mistral": {"sliding_window": 5},
    "qwen2": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2},
    "qwen3": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2},
    "smollm3": {"use_sliding_window": True, "sliding_window": 5, "no_rope_layer_interval": 2},
}
SCALINGS = {
    "default": {},
    "linear": {"factor": 2.5},
    "dynamic": {"factor": 2.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 60},
    "yarn": {
        "factor": 4.0, "original_max_position_embeddings": 48, "beta_fast": 4.0, "beta_slow": 0.5, "mscale": 0.7,
        "mscale_all_dim": 1.5, "truncate": False,
    },
}
# Lists as long as the model is deep: left out where the depth changes, and where a rule should make them.
BLOCK_LISTS = ["layer_types", "no_rope_layers"]
# Names of labels, and the form of transformers' own answer.
NO_FIELDS = {"id2label", "label2id", "return_dict"}


@dataclass
class Mutation:
    name: str  # the field that a refusal must name
    config: dict
    base: dict = field(repr=False)
    folder: Path | None = None
    loss: float | None = None  # transformers'; None where it refuses
    unchanged: float | None = None


def complete_config(family: str, **fields) -> dict:
    """Every field that the family's config object has, spelled out as version 5 writes it."""
    config = AutoConfig.for_model(family, **{**SHAPE, **ACTIVE[family], **fields}).to_dict()
    config.update({"dtype": "float32", "head_dim": config.get("head_dim", SHAPE["head_dim"])})
    config["rope_parameters"] = {"rope_theta": 5000.0, "rope_type": "default"}
    for name in NO_FIELDS:
        config.pop(name)
    return {name: value for name, value in config.items() if value is not None}


def changed(value):
    """Another value of the same type; None for a type that is not mutated."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value if value > 0 else 1
    if isinstance(value, float):
        return 1.5 * value if value > 1e-3 else 0.05
    if isinstance(value, list) and value and isinstance(value[0], str) and value[0].endswith("_attention"):
        flip = {"full_attention": "sliding_attention", "sliding_attention": "full_attention"}
        return [flip[value[0]], *value[1:]]
    if isinstance(value, list) and value and isinstance(value[0], int):
        return [*value[:-1], 0 if value[-1] == 1 else 1]
    return None


def without_block_lists(config: dict) -> dict:
    return {name: value for name, value in config.items() if name not in BLOCK_LISTS}


def with_field(base: dict, name: str, value) -> dict:
    config = copy.deepcopy(base)
    config[name] = value
    # The depth needs lists of another length, and these rules only count where no list speaks for them.
    return config if name in BLOCK_LISTS else without_block_lists(config)


def own_fields(family: str) -> list[Mutation]:
    """Those of transformers' base class, which every family shares, are tried with the first family only."""
    base = complete_config(family)
    skipped = set() if family == FAMILIES[0] else set(PreTrainedConfig().to_dict())
    mutations = []
    for name, value in base.items():
        if name not in skipped | {"rope_parameters"} and changed(value) is not None:
            mutations.append(Mutation(name, with_field(base, name, changed(value)), base))
    return mutations


def foreign_fields(family: str) -> list[Mutation]:
    """What another family reads, or transformers reads for some: ignored by both, or refused."""
    base = complete_config(family)
    others = {
        "attention_bias": True, "mlp_bias": True, "sliding_window": 5, "use_sliding_window": True,
        "max_window_layers": 1,
        "no_rope_layers": [1, 0, 1, 0], "no_rope_layer_interval": 2, "layer_types": ["full_attention"] * 4,
    }
    if family == FAMILIES[0]:
        others.update({
            "partial_rotary_factor": 0.5, "use_mrope": True, "original_max_position_embeddings": 16,
            "residual_multiplier": 0.5, "logit_scale": 0.5, "tie_last_hidden_states": True,
        })
    known = set(AutoConfig.for_model(family).to_dict())
    return [Mutation(n, with_field(base, n, v), base) for n, v in others.items() if n not in known]


def rope_config(version: int, kind: str) -> tuple[dict, str]:
    """A base with this scaling and the name of the object that holds it."""
    config = without_block_lists(complete_config("qwen3"))
    del config["rope_parameters"]
    if version == 5:
        config["rope_parameters"] = {"rope_type": kind, "rope_theta": 5000.0, **SCALINGS[kind]}
        return config, "rope_parameters"
    config.update({"rope_theta": 5000.0, "rope_scaling": {"type": kind, **SCALINGS[kind]}})
    return config, "rope_scaling"


def rope_fields(version: int) -> list[Mutation]:
    """Every field changed; in version 5 also left out, so that its default counts."""
    mutations = []
    for kind in SCALINGS:
        base, holder = rope_config(version, kind)

        def add(name: str, edit) -> None:
            config = copy.deepcopy(base)
            edit(config)
            mutations.append(Mutation(name, config, base))

        for name, value in base[holder].items():
            if changed(value) is not None:
                add(name, lambda config: config[holder].update({name: changed(value)}))
            if version == 5 and name not in ("rope_type", "factor"):
                add(name, lambda config: config[holder].pop(name))
        if version == 4:
            add("rope_theta", lambda config: config.update(rope_theta=7500.0))
        else:
            add("max_position_embeddings", lambda config: config.update(max_position_embeddings=128))
            add("attention_factor", lambda config: config[holder].update(attention_factor=1.25))
    return mutations


def make_documents() -> list[dict]:
    rng = random.Random(3)
    documents = []
    for _ in range(2):
        ids = [rng.randrange(SHAPE["vocab_size"]) for _ in range(LENGTH)]
        documents.append({"input_ids": ids, "labels": ids})
    return documents


def make_model(config: AutoConfig) -> torch.nn.Module:
    """Every parameter random, and a function of its name and shape alone, so that shared tensors stay the same."""
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(sum(name.encode()) * 1000 + parameter.numel())
            low, high = (0.5, 1.5) if "norm" in name else (-0.35, 0.35)
            parameter.uniform_(low, high, generator=generator)
    return model


def save_and_measure(config: dict, folder: Path) -> float | None:
    """The folder as transformers writes it, but with this config.json. Returns transformers' loss."""
    folder.mkdir(parents=True)
    file = folder / "config.json"
    file.write_text(json.dumps(config, indent=2))
    try:
        model = make_model(AutoConfig.from_pretrained(folder))
        loss = loss_and_gradients(model, make_documents())[0]
    except Exception:  # whatever transformers says to a model it cannot build or run
        return None
    model.save_pretrained(folder)
    file.write_text(json.dumps(config, indent=2))
    return loss


def prepare(mutations: list[Mutation], folder: Path) -> list[Mutation]:
    unchanged: dict[str, tuple[float, Path]] = {}
    for index, mutation in enumerate(mutations):
        key = json.dumps(mutation.base)
        if key not in unchanged:
            base_folder = folder / f"base{index}"
            unchanged[key] = save_and_measure(mutation.base, base_folder), base_folder
        mutation.unchanged, base_folder = unchanged[key]
        assert mutation.unchanged is not None, f"transformers cannot open the base of {mutation.name}"
        mutation.folder = folder / f"{index}_{mutation.name}"
        mutation.loss = save_and_measure(mutation.config, mutation.folder)
        if mutation.loss is None:
            shutil.copy(base_folder / "model.safetensors", mutation.folder)
    return mutations


def penstock_loss(folder: Path) -> float | str:
    """The loss, or the line of a refusal."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(d) + "\n" for d in make_documents()))
    settings = {
        "model_name_or_path": str(folder), "path": str(folder / "rows.jsonl"), "tokenizer": "none",
        "max_seq_len": LENGTH, "per_device_train_batch_size": 2, "max_steps": 1, "state_format": "float32",
        "compute_dtype": "float32", "compute_threads": 1, "threads": 1,
    }
    run = folder / "run.yaml"
    run.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    done = subprocess.run(
        [os.environ["PENSTOCK_BINARY"], "gradients", str(run), "--json", "--out",
         str(folder / "gradients.safetensors")],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )
    assert done.returncode in (0, 65), f"{folder.name}: exit code {done.returncode}\n{done.stderr}"
    return json.loads(done.stdout)["loss"] if done.returncode == 0 else done.stderr


def complaint(mutation: Mutation, ours: float | str) -> str | None:
    """What is wrong with our answer; None where it is right."""
    if isinstance(ours, str):
        named = mutation.name in ours or mutation.loss is None
        return None if named else f"{mutation.name}: the refusal names another field: {ours.strip()}"
    if mutation.loss is None:
        return f"{mutation.name}: transformers refuses, we compute {ours}"
    if abs(ours - mutation.loss) <= 1e-5 * abs(mutation.loss):
        return None
    return f"{mutation.name}: {ours}, transformers {mutation.loss}, before the change {mutation.unchanged}"


def compare(mutations: list[Mutation], folder: Path) -> list[Mutation]:
    torch.set_num_threads(1)
    prepare(mutations, folder)
    with ThreadPoolExecutor(max_workers=2) as pool:
        answers = list(pool.map(penstock_loss, [mutation.folder for mutation in mutations]))
    complaints = [text for mutation, ours in zip(mutations, answers) if (text := complaint(mutation, ours))]
    assert not complaints, "\n".join(complaints)
    return [mutation for mutation, ours in zip(mutations, answers) if not isinstance(ours, str)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_of_the_family(family, tmp_path):
    honoured = {mutation.name for mutation in compare(own_fields(family), tmp_path)}
    # Refusing everything would be no support.
    for name in [*SHAPE, "tie_word_embeddings", *ACTIVE[family]]:
        assert name in honoured or name == "dtype", f"{name} was refused"


@pytest.mark.parametrize("family", FAMILIES)
def test_fields_of_other_families(family, tmp_path):
    compare(foreign_fields(family), tmp_path)


@pytest.mark.parametrize("version", [4, 5])
def test_every_rope_field(version, tmp_path):
    honoured = compare(rope_fields(version), tmp_path)
    assert {"factor", "beta_fast", "mscale", "truncate", "low_freq_factor", "rope_theta"} <= {m.name for m in honoured}
    assert sum(abs(m.loss - m.unchanged) > 1e-6 * m.unchanged for m in honoured) > 15


def test_an_ignored_field_would_fail():
    mutation = Mutation("rms_norm_eps", {}, {}, loss=2.0, unchanged=2.1)
    assert complaint(mutation, 2.1) is not None
    assert complaint(mutation, 2.0) is None
    assert complaint(mutation, "config.json: rms_norm_eps is 1; no") is None
    assert complaint(mutation, "config.json: head_dim is 1; no") is not None
