"""Runs from the command line: resume, stop signals, checkpoints, the files a run leaves."""

import json
import os
import shutil
import signal
import subprocess

import pytest
from penstock_runner import penstock
from safetensors.numpy import load_file

CONFIG = """\
path: data.txt
val_size: 0.3
hidden_size: 16
intermediate_size: 32
num_hidden_layers: 2
num_attention_heads: 2
max_seq_len: 32
per_device_train_batch_size: 2
max_steps: 8
save_steps: 3
learning_rate: 1e-2
"""


@pytest.fixture
def folder(tmp_path):
    for index in range(6):
        (tmp_path / f"data{index}.txt").write_text(f"document {index}: some text to train on\n" * (20 + index))
    (tmp_path / "config.yaml").write_text(CONFIG.replace("data.txt", "data*.txt"))
    return tmp_path


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def weights(run):
    return {name: tensor.tobytes() for name, tensor in load_file(run / "model" / "model.safetensors").items()}


@pytest.mark.parametrize("state_format", ["exact", "float32"])
def test_a_resumed_run_equals_an_uninterrupted_one(folder, state_format):
    keys = [f"state_format={state_format}", "compute_dtype=float32"]
    penstock("train", "config.yaml", "output_dir=whole", *keys, cwd=folder)
    for step in (3, 6):
        parts = folder / f"parts-{step}"
        shutil.copytree(folder / "whole", parts)
        for checkpoint in parts.glob("checkpoint-*"):
            if int(checkpoint.name.split("-")[1]) > step:
                shutil.rmtree(checkpoint)
        shutil.rmtree(parts / "model")
        penstock("train", "config.yaml", f"output_dir={parts.name}", "resume_from_checkpoint=auto", *keys, cwd=folder)
        assert losses(parts) == losses(folder / "whole")
        assert weights(parts) == weights(folder / "whole")


def test_metrics_and_files_of_a_run(folder):
    result = penstock("train", "config.yaml", "eval_steps=4", "save_total_limit=1", cwd=folder)
    run = folder / "runs" / "config-1"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 9))
    for field in ("gradient_norm", "clip_factor", "learning_rate", "tokens", "trained_tokens", "tokens_per_second"):
        assert all(field in line for line in steps), field
    evaluations = [line for line in lines if "eval_loss" in line]
    assert [line["step"] for line in evaluations] == [4, 8]
    assert all(line["bits_per_byte"] > 0 for line in evaluations)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert [p.name for p in run.glob("checkpoint-*")] == ["checkpoint-8"]
    assert "resume_from_checkpoint=auto" in result.out
    assert "--- sample ---" in result.out


def test_a_stop_signal_saves_and_the_run_goes_on_from_there(folder):
    arguments = ["config.yaml", "compute_dtype=float32", "max_steps=200", "save_steps=1000", "logging_steps=1"]
    penstock("train", *arguments, "output_dir=whole", cwd=folder)
    process = subprocess.Popen([os.environ["PENSTOCK_BINARY"], "train", *arguments, "output_dir=stopped"], cwd=folder,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    next(line for line in process.stderr if line.startswith("step 2/"))
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the run ended before the signal came")
    assert process.returncode == 75
    assert "resume_from_checkpoint=auto" in out
    penstock("train", "stopped/config.yaml", "resume_from_checkpoint=auto", cwd=folder)
    assert losses(folder / "stopped") == losses(folder / "whole")


def test_export_writes_the_asked_dtype(folder):
    penstock("train", "config.yaml", "output_dir=run", cwd=folder)
    penstock("export", "run", "--out", "wide", "--dtype", "float32", cwd=folder)
    wide = load_file(folder / "wide" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in wide.values()} == {"float32"}
    penstock("export", "run", "--out", "wide", cwd=folder, expect=65)
    penstock("export", "run", "--out", "other", "--dtype", "int8", cwd=folder, expect=64)


def test_generate_is_seeded(folder):
    penstock("train", "config.yaml", "output_dir=run", cwd=folder)
    generate = ["generate", "run", "--prompt", "doc", "--max_new_tokens", "30", "--top_k", "20", "--temperature", "0.8"]
    first = penstock(*generate, cwd=folder).out
    assert first.startswith("doc")
    assert penstock(*generate, cwd=folder).out == first
    assert penstock(*generate, "--sample_seed", "1", cwd=folder).out != first
