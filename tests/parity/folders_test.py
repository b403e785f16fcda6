"""Hugging Face folders in and out: what transformers writes, exported by us, is the same model to transformers."""

import json
from pathlib import Path

import pytest
import torch
from penstock_runner import penstock
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    CLIPVisionConfig,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

SHAPE = {
    "vocab_size": 67, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "initializer_range": 0.2,
}
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": 4}),
    "qwen2_tied": (Qwen2ForCausalLM, Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 8}),
    "smollm3": (SmolLM3ForCausalLM, SmolLM3Config, {"pad_token_id": 0}),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOKENS = torch.tensor([[1, 5, 9, 33, 66, 2, 17, 4]])


def make_model(family: str, dtype: torch.dtype, seed: int = 3) -> torch.nn.Module:
    model_class, config_class, switches = FAMILIES[family]
    torch.manual_seed(seed)
    return model_class(config_class(**{**SHAPE, **switches})).to(dtype)


def add_files(folder: Path) -> dict[str, bytes]:
    """A tokenizer as transformers saves it, and files nobody asked for."""
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m }}{% endfor %}")
    (folder / "LICENSE").write_text("Apache")
    (folder / "extra.bin.txt").write_bytes(bytes(range(256)))
    (folder / "modeling_custom.py").write_text("raise RuntimeError('never run')\n")
    kept = {}
    for path in folder.iterdir():
        is_weights = path.suffix == ".safetensors" or path.name.endswith(".index.json")
        if path.name != "config.json" and not is_weights:
            kept[path.name] = path.read_bytes()
    assert "tokenizer.json" in kept and "generation_config.json" in kept
    return kept


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                assert name not in found
                found[name] = file.get_tensor(name)
    return found


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.contiguous().view(-1).view(torch.uint8).equal(
        b.contiguous().view(-1).view(torch.uint8)
    )


def export(source: Path, out: Path, *arguments: str) -> Path:
    penstock("export", source, "--out", out, *arguments, cwd=source.parent)
    return out


def without_dtype(config) -> dict:
    values = config.to_dict()
    for section in (values, values.get("text_config") or {}):
        section.pop("dtype", None)
    values.pop("_name_or_path", None)
    return values


def round_half_up(weights: torch.Tensor) -> torch.Tensor:
    bits = weights.float().contiguous().view(torch.int32)
    return ((bits + 0x8000) >> 16).to(torch.int16).view(torch.bfloat16)


# Every family in every type; single and sharded by turns, llama in both.
CASES = [
    (family, stored, shards)
    for row, family in enumerate(FAMILIES)
    for column, stored in enumerate(DTYPES)
    for turn, shards in enumerate(["single", "sharded"])
    if family == "llama" or (row + column) % 2 == turn
]


@pytest.mark.parametrize("family, stored, shards", CASES)
def test_a_folder_of_transformers_survives_the_round_trip(tmp_path, family, stored, shards):
    source = tmp_path / "source"
    limit = {"max_shard_size": "8KB"} if shards == "sharded" else {}
    make_model(family, DTYPES[stored]).save_pretrained(source, **limit)
    assert (source / "model.safetensors.index.json").exists() == (shards == "sharded")
    kept = add_files(source)
    original = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")

    for written in ("float32", "bfloat16"):
        out_limit = ["--max_shard_size", "8KB"] if shards == "sharded" else []
        out = export(source, tmp_path / written, "--dtype", written, *out_limit)
        assert {p.name: p.read_bytes() for p in out.iterdir() if p.name in kept} == kept
        model = AutoModelForCausalLM.from_pretrained(out, dtype="auto", attn_implementation="eager")
        assert model.dtype == DTYPES[written]
        assert without_dtype(AutoConfig.from_pretrained(out)) == without_dtype(AutoConfig.from_pretrained(source))
        state = model.state_dict()
        for name, value in original.state_dict().items():
            expected = value if written == "float32" else round_half_up(value)
            assert same_bits(state[name], expected), name
        if shards == "sharded":
            index = json.loads((out / "model.safetensors.index.json").read_text())
            names = tensors_of(out)
            assert set(index["weight_map"]) == set(names)
            assert index["metadata"]["total_size"] == sum(t.nbytes for t in names.values())
            assert len(set(index["weight_map"].values())) > 2
        with torch.no_grad():
            if written == "float32" or stored == "bfloat16":
                assert torch.equal(model.float()(TOKENS).logits, original(TOKENS).logits)


def make_llava(folder: Path) -> None:
    torch.manual_seed(5)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8,
        projection_dim=16,
    )
    config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(**SHAPE), image_token_id=60)
    LlavaForConditionalGeneration(config).save_pretrained(folder, max_shard_size="20KB")


@pytest.mark.parametrize("written", ["float32", "bfloat16"])
def test_a_multimodal_folder_keeps_what_is_not_text(tmp_path, written):
    source = tmp_path / "source"
    make_llava(source)
    out = export(source, tmp_path / "out", "--dtype", written)
    before, after = tensors_of(source), tensors_of(out)
    assert set(before) == set(after)
    others = [name for name in before if "language_model" not in name and "lm_head" not in name]
    assert any("vision" in name for name in others) and len(others) < len(before)
    for name in before:
        expected = before[name] if name in others or written == "float32" else round_half_up(before[name])
        assert same_bits(after[name], expected), name
    assert without_dtype(AutoConfig.from_pretrained(out)) == without_dtype(AutoConfig.from_pretrained(source))
    if written == "float32":
        with torch.no_grad():
            logits = [
                LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)(TOKENS[:, :5]).logits
                for folder in (source, out)
            ]
        assert torch.equal(*logits)


def write_run(tmp_path: Path, source: Path) -> Path:
    rows = [{"input_ids": [1, 5, 9, 33, 66, 2, 17, 4]} for _ in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tmp_path / "config.yaml"
    settings = {
        "model_name_or_path": str(source), "path": str(tmp_path / "rows.jsonl"), "tokenizer": "none", "max_seq_len": 8,
        "per_device_train_batch_size": 2, "max_steps": 2, "output_dir": str(tmp_path / "run"), "learning_rate": "1e-2",
    }
    config.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    return config


def test_a_run_keeps_what_export_needs_when_its_source_is_gone(tmp_path):
    source = tmp_path / "source"
    make_model("qwen3", torch.bfloat16).save_pretrained(source)
    kept = add_files(source)
    penstock("train", write_run(tmp_path, source), cwd=tmp_path)
    model = tmp_path / "run" / "model"
    assert {p.name: p.read_bytes() for p in model.iterdir() if p.name in kept} == kept
    assert (model / "config.json").read_bytes() == (source / "config.json").read_bytes()

    source.rename(tmp_path / "gone")
    out = tmp_path / "out"
    result = penstock("export", tmp_path / "run", "--out", out, cwd=tmp_path)
    assert "no longer there" in result.err
    for path in model.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_multimodal_run_whose_source_is_gone_is_refused_in_one_line(tmp_path):
    source = tmp_path / "source"
    make_llava(source)
    penstock("train", write_run(tmp_path, source), cwd=tmp_path)
    exported = tensors_of(tmp_path / "run" / "model")
    before = tensors_of(source)
    assert set(exported) == set(before)
    source.rename(tmp_path / "gone")
    result = penstock("export", tmp_path / "run", "--out", tmp_path / "out", cwd=tmp_path, expect=65)
    errors = [line for line in result.err.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and "pass through" in errors[0]
    assert not (tmp_path / "out").exists()


def test_a_multimodal_run_that_could_not_be_exported_does_not_start(tmp_path):
    source = tmp_path / "source"
    make_llava(source)
    config = write_run(tmp_path, source)
    penstock("train", config, "max_steps=1", cwd=tmp_path)
    for path in source.glob("model*.safetensors*"):
        path.unlink()
    scratch = (config, "train_from_scratch=true", f"output_dir={tmp_path / 'scratch'}")
    source_gone = (config, "resume_from_checkpoint=auto", "max_steps=2")
    for arguments in (scratch, source_gone):
        if arguments == source_gone:
            source.rename(tmp_path / "gone")
        result = penstock("train", *arguments, cwd=tmp_path, expect=65)
        errors = [line for line in result.err.splitlines() if "error" in line]
        assert len(errors) == 1 and "pass through" in errors[0], result.err
        assert "step" not in result.out and not (tmp_path / "scratch").exists()


def test_other_chat_templates_are_kept(tmp_path):
    source = tmp_path / "source"
    make_model("llama", torch.bfloat16).save_pretrained(source)
    add_files(source)
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    penstock("train", write_run(tmp_path, source), cwd=tmp_path)
    for folder in ("run/source", "run/model"):
        assert (tmp_path / folder / "additional_chat_templates" / "tools.jinja").read_text() == "{{ tools }}"
    templates = AutoTokenizer.from_pretrained(tmp_path / "run" / "model").chat_template
    assert templates["tools"] == "{{ tools }}"
    penstock("train", tmp_path / "run" / "config.yaml", "resume_from_checkpoint=auto", "max_steps=3", cwd=tmp_path)
    assert (tmp_path / "run/model/additional_chat_templates/tools.jinja").exists()


@pytest.mark.parametrize("size", ["5XB", "GB", "-1", "0", "99999999999GB", "1.5GB"])
def test_a_shard_size_that_is_none_is_refused(tmp_path, size):
    source = tmp_path / "source"
    make_model("llama", torch.bfloat16).save_pretrained(source)
    result = penstock("export", source, "--out", tmp_path / "out", "--max_shard_size=" + size, cwd=tmp_path, expect=64)
    assert "--max_shard_size" in result.err
