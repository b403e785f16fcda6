"""`penstock init` writes configurations that run as they are."""

import json

import pytest
from penstock_runner import penstock, penstock_json, write_jsonl
from transformers import LlamaConfig, LlamaForCausalLM


@pytest.fixture
def folder(qwen3_folder):
    write_jsonl(qwen3_folder / "text.jsonl", [{"text": f"document {i}, some text to train on"} for i in range(60)])
    return qwen3_folder


def test_a_size_becomes_a_run(folder):
    written = penstock("init", "300k", "--data", "text.jsonl", cwd=folder)
    assert written.out.splitlines()[0] == "llama-300k.yaml"
    text = (folder / "llama-300k.yaml").read_text()
    assert "hidden_size:" in text and text.count("  # ") > 20
    run = penstock("train", "llama-300k.yaml", "--max_steps", "2", "--max_seq_len", "64", "training.output_dir=run",
                   "max_new_tokens=4", cwd=folder)
    assert "done: step 2" in run.out


def test_sizes_are_met(folder):
    for size, parameters in [("300k", 3e5), ("10M", 1e7), ("qwen3:125M", 1.25e8), ("smollm3:60M", 6e7)]:
        penstock("init", size, "--output", "sized.yaml", "--overwrite", cwd=folder)
        plan = penstock_json("plan", "sized.yaml", "--max_seq_len", "8", "per_device_train_batch_size=1",
                             "memory.activations=recompute", cwd=folder)
        assert plan["parameters"] == pytest.approx(parameters, rel=0.3), size


def test_a_folder_becomes_a_run_and_is_found_from_elsewhere(folder):
    penstock("init", "Tiny_Qwen3", "--data", "tokens.jsonl", cwd=folder)
    text = (folder / "tiny-qwen3.yaml").read_text()
    assert "tokenizer: none" in text and "max_seq_len: 64" in text
    run = penstock("train", "tiny-qwen3.yaml", "--max_steps", "2", "gradient_accumulation_steps=1",
                   "per_device_train_batch_size=2", "training.output_dir=run", cwd=folder)
    assert "all trained" in run.err and "done: step 2" in run.out
    exported = json.loads((folder / "run/model/config.json").read_text())
    assert exported["model_type"] == "qwen3" and exported["tie_word_embeddings"] is True


def test_a_folder_with_a_shape_only_is_trained_from_scratch(folder):
    (folder / "shape").mkdir()
    LlamaConfig(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                max_position_embeddings=32).save_pretrained(folder / "shape")
    penstock("init", "shape", "--data", "tokens.jsonl", cwd=folder)
    assert "train_from_scratch: true" in (folder / "shape.yaml").read_text()
    penstock("train", "shape.yaml", "--max_steps", "1", "gradient_accumulation_steps=1",
             "training.output_dir=run", cwd=folder)
    LlamaForCausalLM.from_pretrained(folder / "run/model")


def test_what_fits_no_machine_is_refused(folder):
    assert "does not fit" in penstock("init", "300B", "-o", "-", cwd=folder, expect=69).err
    (folder / "huge").mkdir()
    LlamaConfig(vocab_size=1000, hidden_size=65536, intermediate_size=262144, num_hidden_layers=200,
                num_attention_heads=64).save_pretrained(folder / "huge")
    refused = penstock("init", "huge", "--data", "tokens.jsonl", cwd=folder, expect=69)
    assert "does not fit" in refused.err and not (folder / "huge.yaml").exists()


def test_what_init_refuses(folder):
    penstock("init", "300k", cwd=folder)
    again = penstock("init", "300k", cwd=folder, expect=65)
    assert "already" in again.err
    assert "hf download Qwen/Qwen3-4B" in penstock("init", "Qwen/Qwen3-4B", cwd=folder, expect=65,
                                                   env={"HF_HOME": str(folder)}).err
    for model in ["0M", "nonsense", "llama2:5B", "12"]:
        assert len(penstock("init", model, "-o", "-", cwd=folder, expect=65).err.strip().splitlines()) == 1
    assert "input_ids" in penstock("init", "5M", "--data", "tokens.jsonl", cwd=folder, expect=65).err
    assert "missing.txt" in penstock("init", "5M", "--data", "missing.txt", "-o", "-", cwd=folder, expect=65).err
    penstock("init", cwd=folder, expect=64)
