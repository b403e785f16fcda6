"""device.backend on a machine without a card: what works all the same, and the one line where it cannot.

The hidden card is CUDA_VISIBLE_DEVICES' doing, so that machines with one run this too.
"""

import pytest
from penstock_runner import penstock, penstock_json

NO_CARD = {"CUDA_VISIBLE_DEVICES": ""}
CONFIG = """
model: {hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 2}
dataset: {path: text.txt, max_seq_len: 16}
training: {output_dir: run, max_steps: 2}
generation: {max_new_tokens: 0}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "text.txt").write_text("to be trained on, again and again. " * 50)
    (tmp_path / "a.yaml").write_text(CONFIG)
    return tmp_path


def test_cuda_without_a_card_is_one_line_and_exit_70(folder):
    for verb, more in [("train", []), ("eval", ["eval_path=text.txt"]), ("gradients", ["--out", "g.safetensors"])]:
        if verb == "eval":
            penstock("train", "a.yaml", "backend=host", cwd=folder, env=NO_CARD)
            more += ["resume_from_checkpoint=run"]
        refused = penstock(verb, "a.yaml", "device.backend=cuda", *more, cwd=folder, env=NO_CARD, expect=70)
        errors = [line for line in refused.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and "device.backend: host" in errors[0], refused.err
    assert not (folder / "g.safetensors").exists()


def test_a_refused_card_leaves_no_run_directory(folder):
    penstock("train", "a.yaml", "device.backend=cuda", cwd=folder, env=NO_CARD, expect=70)
    assert not (folder / "run").exists()


def test_plan_works_without_the_card_it_plans_for(folder):
    on_host = penstock_json("plan", "a.yaml", "device.backend=host", cwd=folder)
    on_cuda = penstock_json("plan", "a.yaml", "device.backend=cuda", cwd=folder)
    # cuBLAS's workspaces alone are more than this model.
    assert on_cuda["device_bytes"] > on_host["device_bytes"] + 64 * 2**20
    assert on_cuda["host_bytes"] == on_host["host_bytes"]
    refused = penstock("plan", "a.yaml", "device.backend=cuda", "device.memory_gb=0.01", cwd=folder, expect=69)
    assert "device.memory_gb" in refused.err or "does not fit" in refused.err


def test_auto_computes_on_the_host_and_says_nothing(folder):
    run = penstock("train", "a.yaml", "device.backend=auto", cwd=folder, env=NO_CARD)
    assert "emulated on the host" in run.err
    assert "GPU" not in run.err and "CUDA" not in run.err


def test_index_is_checked(folder):
    refused = penstock("train", "a.yaml", "device.backend=cuda", "device.index=999", cwd=folder, expect=65)
    assert "device.index" in refused.err
