"""Runs from the command line: resume, stop signals, checkpoints, the files a run leaves."""

import json
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
from penstock_runner import penstock, write_jsonl
from safetensors.numpy import load_file, save_file

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
max_new_tokens: 8
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


def files(run):
    """The content of every file, by its path."""
    return {path.relative_to(run): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


def checkpoints(run):
    return sorted(path.name for path in run.glob("checkpoint-*"))


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("state_format", ["exact", "float32", "compact", "compact8"])
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


def stop_at(step, *arguments, cwd):
    """A run that gets SIGTERM once it has finished `step`; its standard output."""
    command = [os.environ["PENSTOCK_BINARY"], "train", *arguments, "logging_steps=1"]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if line.startswith(f"step {step}/"))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 75, err
    return out


# Steps do not depend on how many there will be.
CONSTANT = ["config.yaml", "compute_dtype=float32", "lr_scheduler_type=constant", "warmup_steps=0"]


def test_a_stop_signal_saves_and_the_run_goes_on_from_there(folder):
    out = stop_at(2, *CONSTANT, "max_steps=100000", "save_steps=100000", "output_dir=stopped", cwd=folder)
    stopped = len(losses(folder / "stopped"))
    assert 2 <= stopped < 100000
    assert f"stopped by a signal: step {stopped} of 100000, last checkpoint stopped/checkpoint-{stopped};" in out
    assert checkpoints(folder / "stopped") == [f"checkpoint-{stopped}"]
    end = f"max_steps={stopped + 3}"
    penstock("train", *CONSTANT, end, "output_dir=whole", cwd=folder)
    assert losses(folder / "whole")[:stopped] == losses(folder / "stopped")
    penstock("train", "stopped/config.yaml", "resume_from_checkpoint=auto", end, cwd=folder)
    assert losses(folder / "stopped") == losses(folder / "whole")


def test_an_older_checkpoint_abandons_the_newer_ones(folder):
    penstock("train", *CONSTANT, "save_steps=2", "output_dir=run", cwd=folder)
    before = losses(folder / "run")
    assert checkpoints(folder / "run") == [f"checkpoint-{step}" for step in (2, 4, 6, 8)]
    result = penstock("train", *CONSTANT, "save_steps=2", "max_steps=5", "save_total_limit=1",
                      "resume_from_checkpoint=run/checkpoint-4", cwd=folder)
    assert "removed 2 newer checkpoints of run: this run goes on from step 4" in result.err
    assert checkpoints(folder / "run") == ["checkpoint-5"]
    assert losses(folder / "run") == before[:5]


def test_a_branch_is_a_run_of_its_own(folder):
    penstock("train", *CONSTANT, "output_dir=run", cwd=folder)
    before = files(folder / "run")
    out = stop_at(4, *CONSTANT, "max_steps=100000", "save_steps=100000", "output_dir=branch",
                  "resume_from_checkpoint=run/checkpoint-3", cwd=folder)
    assert "last checkpoint branch/checkpoint-" in out
    assert losses(folder / "branch")[:5] == losses(folder / "run")[3:][: len(losses(folder / "branch"))]
    assert files(folder / "run") == before
    # A branch without a step of its own has a checkpoint all the same.
    penstock("train", *CONSTANT, "max_steps=3", "output_dir=copy", "resume_from_checkpoint=run/checkpoint-3",
             cwd=folder)
    assert checkpoints(folder / "copy") == ["checkpoint-3"]


@pytest.mark.parametrize(
    ("key", "saved", "given"),
    [("seed=43", "training.seed 42", "gives 43"), ("max_seq_len=16", "dataset.max_seq_len 32", "gives 16"),
     ("packing=false", "dataset.packing true", "gives false"), ("val_size=1", "training documents", "gives 5"),
     ("path=data?.txt", "rows an epoch", "gives ")],
)
def test_a_resume_with_other_data_is_refused(folder, key, saved, given):
    penstock("train", "config.yaml", "max_steps=4", "output_dir=run", "val_size=2", cwd=folder)
    if key.startswith("path"):
        (folder / "data0.txt").write_text("longer than it was\n" * 200)
        (folder / "data1.txt").write_text("longer than it was\n" * 200)
    before = files(folder)
    result = penstock("train", "config.yaml", "output_dir=run", "val_size=2", key, "resume_from_checkpoint=auto",
                      cwd=folder, expect=65)
    assert saved in result.err
    assert given in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert files(folder) == before


def test_a_finished_run_has_nothing_left_to_train(folder):
    penstock("train", "config.yaml", "output_dir=run", cwd=folder)
    metrics = (folder / "run" / "metrics.jsonl").read_text()
    assert "eval_loss" in metrics
    result = penstock("train", "run/config.yaml", "resume_from_checkpoint=auto", cwd=folder)
    assert "nothing left to train: step 8 of 8" in result.out
    assert (folder / "run" / "metrics.jsonl").read_text() == metrics


def test_a_run_without_a_checkpoint_is_not_emptied_by_auto(folder):
    penstock("train", "config.yaml", "output_dir=run", "save_strategy=no", cwd=folder)
    before = files(folder)
    result = penstock("train", "config.yaml", "output_dir=run", "resume_from_checkpoint=auto", cwd=folder, expect=65)
    assert "overwrite_output_dir=true" in result.err
    assert files(folder) == before


def test_overwriting_replaces_a_run_and_keeps_other_files(folder):
    penstock("train", "config.yaml", "output_dir=run", cwd=folder)
    (folder / "run" / "notes.txt").write_text("mine")
    penstock("train", "config.yaml", "output_dir=run", "max_steps=2", "overwrite_output_dir=true", cwd=folder)
    assert checkpoints(folder / "run") == ["checkpoint-2"]
    assert len(losses(folder / "run")) == 2
    assert (folder / "run" / "notes.txt").read_text() == "mine"
    # The run's own configuration does not ask to overwrite again.
    penstock("train", "run/config.yaml", cwd=folder, expect=65)


def test_a_checkpoint_at_the_end_of_each_epoch(folder):
    steps = 12
    penstock("train", "config.yaml", f"max_steps={steps}", "max_seq_len=512", "save_strategy=epoch", "output_dir=run",
             cwd=folder)
    saved = [int(name.split("-")[1]) for name in checkpoints(folder / "run")]
    assert steps in saved
    assert 2 < len(saved) < steps
    for checkpoint in (folder / "run").glob("checkpoint-*"):
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        rows = manifest["step"] * 2
        assert manifest["cursor"]["epoch"] == rows // manifest["data"]["first_epoch_rows"]
        if manifest["step"] < steps:
            assert manifest["cursor"]["row"] < 2, "not the first step in a new epoch"


def test_eager_updates_train_like_deferred_ones(folder):
    keys = ["config.yaml", "compute_dtype=float32", "max_grad_norm=0", "gradient_accumulation_steps=2"]
    penstock("train", *keys, "output_dir=deferred", cwd=folder)
    penstock("train", *keys, "optimizer.update=eager", "output_dir=eager", cwd=folder)
    assert losses(folder / "eager") == losses(folder / "deferred")
    assert weights(folder / "eager") == weights(folder / "deferred")


def test_lines_of_text_are_documents(folder):
    rows = [{"text": f"document {index}: some text to train on\n" * (20 + index)} for index in range(6)]
    write_jsonl(folder / "rows.jsonl", rows)
    penstock("train", "config.yaml", "path=rows.jsonl", "output_dir=lines", cwd=folder)
    penstock("train", "config.yaml", "output_dir=files", cwd=folder)
    assert losses(folder / "lines") == losses(folder / "files")


def test_micro_batches_do_not_change_what_a_step_learns_from(folder):
    keys = ["config.yaml", "compute_dtype=float32", "state_format=float32"]
    one = [*keys, "per_device_train_batch_size=4", "output_dir=one"]
    several = [*keys, "per_device_train_batch_size=1", "gradient_accumulation_steps=4", "output_dir=several"]
    penstock("train", *one, cwd=folder)
    penstock("train", *several, cwd=folder)
    assert losses(folder / "several") == pytest.approx(losses(folder / "one"), rel=1e-4)


def test_a_step_that_trains_nothing_has_no_loss(folder):
    rows = [{"input_ids": list(range(1, 32)), "labels": [-100] * 31} for _ in range(4)]
    del rows[0]["labels"]
    write_jsonl(folder / "rows.jsonl", rows)
    penstock("train", "config.yaml", "path=rows.jsonl", "tokenizer=none", "vocab_size=64", "val_size=0", "max_steps=4",
             "per_device_train_batch_size=1", "output_dir=run", cwd=folder)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    skipped = [line for line in lines if line.get("skipped")]
    assert len(skipped) == 3
    assert all(line["loss"] is None and line["gradient_norm"] is None for line in skipped)
    assert sum(line["loss"] is not None for line in lines) == 1


def test_targets_that_are_no_bytes_have_no_bits_per_byte(folder):
    write_jsonl(folder / "rows.jsonl", [{"input_ids": list(range(1, 32))}] * 4)
    penstock("train", "config.yaml", "path=rows.jsonl", "tokenizer=none", "vocab_size=64", "val_size=1", "max_steps=2",
             "output_dir=run", cwd=folder)
    evaluation = json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert evaluation["eval_loss"] > 0
    assert evaluation["bits_per_byte"] is None


@pytest.fixture
def diverging(folder):
    """The arguments of a run whose logits are infinite in every step."""
    penstock("train", "config.yaml", "max_steps=1", "save_strategy=no", "output_dir=base", "state_format=float32",
             cwd=folder)
    weight_file = folder / "base" / "model" / "model.safetensors"
    tensors = load_file(weight_file)
    tensors["lm_head.weight"] = np.full_like(tensors["lm_head.weight"], 3e38)
    save_file(tensors, weight_file, metadata={"format": "pt"})
    config = "".join(f"{line}\n" for line in CONFIG.splitlines() if "hidden" not in line and "num_" not in line)
    config = config.replace("data.txt", "data*.txt").replace("intermediate_size: 32\n", "")
    (folder / "diverging.yaml").write_text(config + "model_name_or_path: base/model\nstate_format: float32\n")
    return ["diverging.yaml", "max_steps=50"]


def test_an_error_ends_the_run_with_its_closing_line(folder, diverging):
    result = penstock("train", *diverging, "save_steps=1", "output_dir=run dir", cwd=folder, expect=71)
    closing = result.out.strip().splitlines()[-1]
    assert closing.startswith("stopped by an error: step 4 of 50, last checkpoint run dir/checkpoint-4; resume with: ")
    assert closing.endswith("train 'run dir/config.yaml' resume_from_checkpoint=auto")


def test_an_error_before_the_first_checkpoint_says_how_to_begin_again(folder, diverging):
    result = penstock("train", *diverging, "save_steps=100", "output_dir=run", cwd=folder, expect=71)
    closing = result.out.strip().splitlines()[-1]
    assert closing.startswith("stopped by an error: step 4 of 50, no checkpoint; begin again with: ")
    assert closing.endswith("train run/config.yaml overwrite_output_dir=true")
    assert penstock("train", *diverging, "output_dir=run", cwd=folder, expect=65).out == ""


def test_a_paced_run_leaves_nothing_to_use(folder):
    keys = ["config.yaml", "device.compute=paced", "paced_tflops=1000", "save_steps=1", "max_steps=2"]
    result = penstock("train", *keys, "output_dir=run", cwd=folder)
    assert result.out.strip().splitlines()[-1].startswith("done: step 2 of 2; device.compute: paced learns nothing")
    assert sorted(path.name for path in (folder / "run").iterdir()) == ["config.yaml", "metrics.jsonl"]
    assert "sample" not in result.out.replace("model or sample", "")
    penstock("train", "config.yaml", "output_dir=real", cwd=folder)
    before = files(folder)
    penstock("train", *keys, "output_dir=real", "resume_from_checkpoint=auto", cwd=folder, expect=65)
    assert files(folder) == before


def test_the_runs_configuration_has_no_auto_left_that_changes_results(folder):
    penstock("train", "config.yaml", "output_dir=run", "warmup_ratio=0.25", cwd=folder)
    text = (folder / "run" / "config.yaml").read_text()
    values = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in text.splitlines() if ":" in line}
    assert values["compute_dtype"] in ("float32", "bfloat16")
    assert int(values["compute_threads"]) >= 1
    assert values["warmup_steps"] == "2"


def test_a_sample_that_does_not_fit_is_refused_before_training(folder):
    keys = ["config.yaml", "max_position_embeddings=100000", "max_new_tokens=90000", "memory_gb=0.008"]
    penstock("train", *keys[:2], "max_new_tokens=8", keys[3], "output_dir=small", cwd=folder)
    before = files(folder)
    penstock("train", *keys, "output_dir=run", cwd=folder, expect=69)
    assert files(folder) == before


def test_a_model_folder_that_cannot_be_replaced_is_found_before_training(folder):
    penstock("train", "config.yaml", "max_steps=4", "output_dir=run", cwd=folder)
    (folder / "run" / "model" / "mine").mkdir()
    before = files(folder)
    penstock("train", "config.yaml", "output_dir=run", "resume_from_checkpoint=auto", cwd=folder, expect=65)
    assert files(folder) == before


def test_export_writes_the_asked_dtype(folder):
    penstock("train", "config.yaml", "output_dir=run", cwd=folder)
    penstock("export", "run", "--out", "wide", "--dtype", "float32", cwd=folder)
    wide = load_file(folder / "wide" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in wide.values()} == {"float32"}
    penstock("export", "run", "--out", "wide", cwd=folder, expect=65)
    penstock("export", "run", "--out", "other", "--dtype", "int8", cwd=folder, expect=64)


@pytest.mark.parametrize("state_format", ["compact", "compact8"])
def test_a_compact_run_is_of_use_to_every_verb(folder, state_format):
    penstock("train", "config.yaml", "output_dir=run", f"state_format={state_format}", cwd=folder)
    penstock("export", "run", "--out", "wide", "--dtype", "float32", cwd=folder)
    wide = load_file(folder / "wide" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in wide.values()} == {"float32"}
    assert all((tensor.view(np.uint32) & 0xFFFF == 0).all() for tensor in wide.values())  # a bf16 master has no more
    assert json.loads(penstock("eval", "run", "--json", cwd=folder).out)["loss"] > 0
    other = penstock("train", "run/config.yaml", "output_dir=run", "resume_from_checkpoint=auto", "max_steps=9",
                     "state_format=exact", cwd=folder, expect=65)
    assert "optimizer.state_format" in other.err


def test_generate_is_seeded(folder):
    penstock("train", "config.yaml", "output_dir=run", cwd=folder)
    generate = ["generate", "run", "--prompt", "doc", "--max_new_tokens", "30", "--top_k", "20", "--temperature", "0.8"]
    first = penstock(*generate, cwd=folder).out
    assert first.startswith("doc")
    assert penstock(*generate, cwd=folder).out == first
    assert penstock(*generate, "--sample_seed", "1", cwd=folder).out != first
