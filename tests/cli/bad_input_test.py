"""Bad input from the command line: one clear line each, the right exit code, nothing written."""

import json
import os
import shutil

import numpy as np
import pytest
from penstock_runner import penstock, write_jsonl
from safetensors.numpy import load_file, save_file

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


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def refused(folder, code, *needles, arguments=(), command=("train", "config.yaml")):
    """Runs a command; the folder must be as it was, byte for byte, and standard error must hold the needles."""
    before = contents(folder)
    result = penstock(*command, *arguments, cwd=folder, expect=code)
    assert before == contents(folder), "a refused run changed something"
    for needle in needles:
        assert needle in result.err, result.err
    return result


def error_lines(result):
    return result.err.strip().splitlines()


@pytest.fixture
def model_folder(folder):
    """A byte model as a Hugging Face folder whose name no YAML would take unquoted."""
    penstock("train", "config.yaml", "output_dir=made", "state_format=float32", cwd=folder)
    shutil.copytree(folder / "made" / "model", folder / 'a "quoted" # model')
    shutil.rmtree(folder / "made")
    return folder / 'a "quoted" # model'


def make_logits_overflow(model_folder):
    """Every weight stays finite, their products do not."""
    weights = load_file(model_folder / "model.safetensors")
    weights["lm_head.weight"] = np.sign(weights["lm_head.weight"]) * np.float32(3e38)
    save_file(weights, model_folder / "model.safetensors", metadata={"format": "pt"})


def test_a_good_run_works(folder):
    penstock("train", "config.yaml", cwd=folder)
    assert (folder / "runs" / "config-1" / "model" / "model.safetensors").exists()


def test_unknown_keys_are_all_reported_at_once_with_the_nearest_name(folder):
    (folder / "config.yaml").write_text(MODEL + TRAIN + "learning_rat: 1e-3\nmax_grad_nrom: 1\n")
    result = refused(folder, 65, "config.yaml:8", "learning_rate", "config.yaml:9", "max_grad_norm")
    assert len(error_lines(result)) == 2


@pytest.mark.parametrize("text", ["a: [1\n", "path: 'x\n", "a:\n\t- b: {\n", "hidden_size: 16: 3\n"])
def test_a_file_that_is_no_yaml_gets_one_line(folder, text):
    (folder / "config.yaml").write_text(text)
    assert len(error_lines(refused(folder, 65, "config.yaml:"))) == 1


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


def test_a_smaller_state_format_is_named_where_it_would_fit(folder):
    keys = ["hidden_size=256", "intermediate_size=1024"]  # so that state is what counts

    def planned(state_format):
        plan = penstock("plan", "config.yaml", "--json", f"state_format={state_format}", *keys, cwd=folder).out
        memory = json.loads(plan)
        return sum(memory["host"].values()) + sum(memory["device"].values())

    between = (planned("exact") + planned("compact8")) / 2 / 2**30
    refused(folder, 69, "optimizer.state_format=compact8 (which changes results)",
            arguments=["state_format=exact", f"host_memory_gb={between}", *keys])


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
    for index in range(4):
        (folder / f"more-{index}.txt").write_text(f"document {index}\n" * 20)
    keys = ["path=more-*.txt", "val_size=0.5"]
    refused(folder, 65, "resume_from_checkpoint", "model_name_or_path", command=("eval", "config.yaml", *keys))


def test_auto_without_output_dir_says_so(folder):
    refused(folder, 65, "needs training.output_dir",
            command=("generate", "config.yaml", "resume_from_checkpoint=auto"))


def test_a_run_without_any_weights_says_so(folder):
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text(MODEL + TRAIN)
    refused(folder, 65, "run: no trained weights", command=("generate", "run"))


@pytest.mark.parametrize("verb", [["generate", "--prompt", "some"], ["export", "--out", "out"], ["plan"]])
def test_a_model_folder_is_enough_for_verbs_without_data(folder, model_folder, verb):
    result = penstock(verb[0], model_folder, *verb[1:], cwd=folder)
    if verb[0] == "generate":
        assert result.out.startswith("some")
    if verb[0] == "export":
        assert (folder / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("verb", [["train"], ["eval"], ["gradients", "--out", "g.safetensors"]])
def test_verbs_that_read_data_ask_for_it(folder, model_folder, verb):
    refused(folder, 65, f"{model_folder.name}: dataset.path: missing",
            command=(verb[0], model_folder.name, *verb[1:]))


def test_a_configuration_without_data_is_refused_with_the_file(folder):
    (folder / "config.yaml").write_text(MODEL + "max_steps: 2\n")
    refused(folder, 65, "config.yaml: dataset.path: missing")
    penstock("plan", "config.yaml", cwd=folder)


def test_a_run_without_checkpoints_is_used_by_its_final_model(folder):
    (folder / "more.txt").write_text("another document\n" * 20)
    keys = ["path=*.txt", "val_size=0.5", "output_dir=run", "save_strategy=no", "state_format=float32"]
    penstock("train", "config.yaml", *keys, cwd=folder)
    assert not list((folder / "run").glob("checkpoint-*"))
    assert json.loads(penstock("eval", "run", "--json", cwd=folder).out)["loss"] > 0
    assert penstock("generate", "run", "--prompt", "some", cwd=folder).out.startswith("some")
    penstock("export", "run", "--out", "out", cwd=folder)
    expected, exported = load_file(folder / "run/model/model.safetensors"), load_file(folder / "out/model.safetensors")
    assert all(np.array_equal(expected[name], exported[name]) for name in expected)


@pytest.mark.parametrize("verb", [["eval"], ["generate"], ["export", "--out", "out"], ["gradients", "--out", "g"]])
def test_paced_numbers_are_refused(folder, verb):
    refused(folder, 65, "device.compute", command=(verb[0], "config.yaml", "compute=paced", *verb[1:]))


@pytest.mark.parametrize("keys", [
    ["per_device_train_batch_size=65536", "gradient_accumulation_steps=65536"],
    ["per_device_train_batch_size=65536", "max_seq_len=1048576"],
    ["gradient_accumulation_steps=65536", "max_seq_len=1", "num_hidden_layers=1000"],
])
@pytest.mark.parametrize("verb", ["train", "plan"])
def test_counts_beyond_all_bounds(folder, verb, keys):
    assert len(error_lines(refused(folder, 65, "training.", command=(verb, "config.yaml", *keys)))) == 1


@pytest.mark.parametrize("keys", [
    ["per_device_train_batch_size=65536", "max_seq_len=32767", "intermediate_size=16777216"],
    ["per_device_train_batch_size=40000", "gradient_accumulation_steps=1600"],
    ["max_seq_len=1", "gradient_accumulation_steps=65536"],
])
def test_sizes_that_fit_no_machine_are_refused_without_a_crash(folder, keys):
    refused(folder, 69, command=("plan", "config.yaml", "host_memory_gb=0.1", *keys))


def test_data_counts_as_host_memory(folder):
    size = 64 << 20
    with open(folder / "data.txt", "wb") as data:
        data.truncate(size)
    refused(folder, 69, "data", "64.0 MiB", arguments=["host_memory_gb=0.05"])
    planned = json.loads(penstock("plan", "config.yaml", "--json", cwd=folder).out)
    assert planned["host"]["data"] == size
    missing = penstock("plan", "config.yaml", "path=nothing/*.txt", "--json", cwd=folder)
    assert json.loads(missing.out)["host"]["data"] == 0 and "nothing/*.txt" in missing.err


def test_generate_keeps_to_the_models_positions(folder, model_folder):
    positions = json.loads((model_folder / "config.json").read_text())["max_position_embeddings"]
    for count, code in [(positions - 4, 65), (0, 65), (4, 0)]:
        command = ["generate", model_folder, "--prompt", "some", "--max_new_tokens", count]
        result = penstock(*command, cwd=folder, expect=code)
        assert code == 0 or "max_new_tokens" in result.err
    refused(folder, 65, "shorten the prompt", command=("generate", model_folder.name, "--prompt", "x" * positions))


def test_generate_plans_only_what_it_needs(folder, model_folder):
    """The training plan of these batches needs gigabytes; a prompt does not."""
    keys = ["per_device_train_batch_size=512", "max_seq_len=2048", "host_memory_gb=0.05", "--prompt", "some"]
    penstock("generate", model_folder, *keys, "--max_new_tokens", "4", cwd=folder)
    penstock("export", model_folder, *keys[:3], "memory_gb=0.0001", "--out", "out", cwd=folder)


@pytest.mark.parametrize("keys", [["vocab_size=300"], ["tokenizer=none", "vocab_size=259"]])
def test_only_byte_models_are_prompted(folder, keys):
    refused(folder, 65, "byte tokenizer", command=("generate", "config.yaml", *keys))


def test_a_folder_with_another_tokenizer_is_not_prompted_in_bytes(folder):
    penstock("train", "config.yaml", "output_dir=made", "vocab_size=300", cwd=folder)
    model = folder / "made" / "model"
    penstock("generate", model, "--prompt", "some", cwd=folder)  # the tokenizer's file says byte
    (model / "tokenizer.json").write_text("{}")
    refused(folder, 65, "tokenizer.json: Model missing", command=("generate", "made/model"))
    refused(folder, 65, "a tokenizer of its own", command=("generate", "made/model", "tokenizer=byte"))


def test_non_finite_numbers_stop_every_verb(folder, model_folder):
    make_logits_overflow(model_folder)
    (folder / "more.txt").write_text("another document\n" * 20)
    keys = [f"model_name_or_path={model_folder}", "path=*.txt", "val_size=0.5", "state_format=float32",
            "max_seq_len=32"]
    (folder / "config.yaml").write_text("max_steps: 2\n")
    refused(folder, 71, "not finite", command=("gradients", "config.yaml", *keys, "--out", "g.safetensors"))
    refused(folder, 71, "not finite", command=("eval", "config.yaml", *keys))
    for sampling in (["greedy=true"], ["top_k=5"]):
        refused(folder, 71, "logits are not finite", command=("generate", "config.yaml", *keys, *sampling))


def test_a_warm_up_longer_than_the_run_is_said_once(folder):
    (folder / "config.yaml").write_text(MODEL + TRAIN.replace("max_steps: 2", "num_train_epochs: 1"))
    assert "warm-up" not in penstock("train", "config.yaml", cwd=folder).err
    assert "warm-up takes 5000" in penstock("train", "config.yaml", "warmup_steps=5000", cwd=folder).err


def test_no_new_tokens_means_no_sample(folder):
    result = penstock("train", "config.yaml", "max_new_tokens=0", cwd=folder)
    assert "--- sample ---" not in result.out


def test_a_sample_ends_where_the_positions_end(folder):
    penstock("train", "config.yaml", "max_position_embeddings=32", "max_new_tokens=4000", cwd=folder)


def test_plan_prints_bytes_and_schedule(folder):
    assert "optimizer state" in penstock("plan", "config.yaml", cwd=folder).out
    assert "Backward(0,m0)" in penstock("plan", "config.yaml", "--schedule", cwd=folder).out
    planned = json.loads(penstock("plan", "config.yaml", "--json", cwd=folder).out)
    assert planned["host_bytes"] == sum(planned["host"].values())
