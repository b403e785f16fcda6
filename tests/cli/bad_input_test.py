"""Bad input from the command line: one clear line each, the right exit code, nothing written."""

import json
import os

import pytest
from penstock_runner import penstock, write_jsonl

MODEL = """\
hidden_size: 16
intermediate_size: 32
num_hidden_layers: 2
num_attention_heads: 2
"""
TRAIN = "path: data.txt\nmax_seq_len: 32\nmax_steps: 2\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data.txt").write_text("some text to train on\n" * 20)
    (tmp_path / "config.yaml").write_text(MODEL + TRAIN)
    return tmp_path


def refused(folder, code, *needles, arguments=(), files=None):
    """Runs `penstock train`; the folder must be as it was and standard error must hold the needles."""
    before = sorted(p.relative_to(folder) for p in folder.rglob("*"))
    result = penstock("train", "config.yaml", *arguments, cwd=folder, expect=code)
    after = sorted(p.relative_to(folder) for p in folder.rglob("*"))
    assert before == after, "a refused run left something behind"
    for needle in needles:
        assert needle in result.err, result.err
    return result


def test_a_good_run_works(folder):
    penstock("train", "config.yaml", cwd=folder)
    assert (folder / "runs" / "config-1" / "model" / "model.safetensors").exists()


def test_unknown_keys_are_all_reported_at_once_with_the_nearest_name(folder):
    (folder / "config.yaml").write_text(MODEL + TRAIN + "learning_rat: 1e-3\nmax_grad_nrom: 1\n")
    result = refused(folder, 65, "config.yaml:8", "learning_rate", "config.yaml:9", "max_grad_norm")
    assert len(result.err.strip().splitlines()) <= 3


@pytest.mark.parametrize("value", [".nan", ".inf", "-1", "abc"])
def test_hyper_parameters_that_are_no_number(folder, value):
    refused(folder, 65, "learning_rate", arguments=[f"learning_rate={value}"])


def test_an_empty_data_set(folder):
    (folder / "data.txt").write_text("")
    refused(folder, 65, "data.txt")


def test_a_pattern_without_files(folder):
    refused(folder, 65, "nothing/*.txt", arguments=["path=nothing/*.txt"])


def test_an_over_long_row(folder):
    write_jsonl(folder / "rows.jsonl", [{"input_ids": [1, 2, 3]}, {"input_ids": list(range(40))}])
    refused(folder, 65, "rows.jsonl:2", "40", "32",
            arguments=["path=rows.jsonl", "tokenizer=none", "vocab_size=64"])


def test_broken_jsonl(folder):
    (folder / "rows.jsonl").write_text('{"text": "fine"}\n{"text": "broken\n')
    refused(folder, 65, "rows.jsonl:2", arguments=["path=rows.jsonl"])


def test_a_directory_that_cannot_be_written(folder):
    (folder / "file").write_text("not a directory")
    refused(folder, 74, "file/run", arguments=["output_dir=file/run"])


def test_a_device_that_is_too_small(folder):
    result = refused(folder, 69, "device.memory_gb", arguments=["memory_gb=0.0001"])
    assert "weight slots" in result.err


def test_a_host_that_is_too_small(folder):
    result = refused(folder, 69, "optimizer state", arguments=["host_memory_gb=0.0001"])
    assert "host" in result.err.splitlines()[0]


def test_a_run_directory_is_never_overwritten_silently(folder):
    penstock("train", "config.yaml", "output_dir=run", cwd=folder)
    refused(folder, 65, "resume_from_checkpoint=auto", "overwrite_output_dir=true", arguments=["output_dir=run"])


def test_a_second_run_gets_a_second_directory(folder):
    for _ in range(2):
        penstock("train", "config.yaml", cwd=folder)
    assert sorted(os.listdir(folder / "runs")) == ["config-1", "config-2"]


@pytest.mark.parametrize("arguments", [[], ["fly"], ["train"], ["plan", "--no-such-option-without-config"]])
def test_usage_errors(folder, arguments):
    penstock(*arguments, cwd=folder, expect=64)


@pytest.mark.parametrize("verb", ["train", "eval", "generate", "gradients", "export", "plan"])
def test_help(folder, verb):
    assert "CONFIG" in penstock(verb, "--help", cwd=folder).out


def test_eval_without_weights_names_the_ways_out(folder):
    result = penstock("eval", "config.yaml", "val_size=0", cwd=folder, expect=65)
    assert "val_size" in result.err or "resume_from_checkpoint" in result.err


def test_plan_prints_bytes_and_schedule(folder):
    assert "optimizer state" in penstock("plan", "config.yaml", cwd=folder).out
    assert "Backward(0,m0)" in penstock("plan", "config.yaml", "--schedule", cwd=folder).out
    planned = json.loads(penstock("plan", "config.yaml", "--json", cwd=folder).out)
    assert planned["host_bytes"] == sum(planned["host"].values())
