"""200 steps on the quickstart's text: bf16 on the GPU against fp32 on the host device, the whole curve within 1%."""

import json
from pathlib import Path

import pytest
import torch
from gpu_target import BACKEND, requires_gpu
from penstock_runner import penstock

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 200
TOLERANCE = 0.01
# The quickstart with a model that fp32 on a few cores trains in half a minute; heads of 64, as real models have. At the
# quickstart's own learning rate (3e-3) two roundings of one run are up to 5% apart at single steps; at 1e-3, 0.4%.
TINY = ["num_hidden_layers=3", "hidden_size=128", "intermediate_size=344", "num_attention_heads=2",
        "num_key_value_heads=2", "learning_rate=1e-3", "warmup_ratio=0.1", f"max_steps={STEPS}", "save_strategy=no",
        "max_new_tokens=0", "max_eval_tokens=4096"]

pytestmark = requires_gpu


def train(folder, name, *keys):
    text = Path(torch.__file__).parent / "{nn,optim,fx}/**/*.py"
    result = penstock("train", REPOSITORY / "configs/quickstart.yaml", *TINY, f"dataset.path={text}",
                      f"output_dir={folder / name}", *keys, cwd=folder)
    lines = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
    return result, [line["loss"] for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    result, device = train(folder, "device", f"backend={BACKEND}", "compute_dtype=bfloat16", "state_format=exact")
    _, host = train(folder, "host", "backend=host", "compute_dtype=float32", "state_format=float32")
    return result, device, host


def test_every_step_is_within_one_percent(curves):
    _, device, host = curves
    assert len(device) == len(host) == STEPS
    ratios = [ours / theirs - 1 for ours, theirs in zip(device, host)]
    worst = max(range(STEPS), key=lambda step: abs(ratios[step]))
    where = f"step {worst + 1}: {device[worst]} on the device, {host[worst]} on the host"
    assert abs(ratios[worst]) <= TOLERANCE, where


def test_something_was_learnt(curves):
    _, device, _ = curves
    assert device[-1] < 0.6 * device[0]


def test_the_gpu_is_where_it_ran(curves):
    if BACKEND == "host":
        pytest.skip("a dry run")
    assert torch.cuda.get_device_name() in curves[0].err
