"""bench/peers without a card: the cases, Penstock's own run from end to end, every refusal, and what is read of a
peer's output. The torch peers are tried by hand (`run_peers.py --case smoke --device host`): they take a minute."""

import argparse
import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

PEERS = Path(__file__).resolve().parents[2] / "bench" / "peers"
sys.path.insert(0, str(PEERS))

import run_peers  # noqa: E402
import runners  # noqa: E402
from cases import CASES, chosen_cases  # noqa: E402
from watched_process import Outcome, run_watched, tree_bytes  # noqa: E402


def arguments(**given):
    defaults = {"penstock": Path("/absent"), "penstock_key": [], "megatrain": None, "llmq": None, "deepspeed": None,
                "device": "cuda", "memory_gb": 0, "warmup": 1, "steps": 2, "index": 0, "timeout": 60}
    return argparse.Namespace(**{**defaults, **given})


@pytest.mark.parametrize("name, billions", [("qwen2.5-3b-16k", 3.086), ("llama-3.1-8b-4k", 8.030),
                                            ("qwen2.5-7b-512k", 7.616)])
def test_the_shapes_are_those_of_the_models(name, billions):
    assert CASES[name].parameters() / 1e9 == pytest.approx(billions, abs=5e-4)


@pytest.mark.parametrize("micro_batch_tokens", [0, 1, 3000, 8192, 1 << 20])
def test_micro_batches_make_up_the_step(micro_batch_tokens):
    for case in chosen_cases(["all"], micro_batch_tokens) + chosen_cases(["smoke"], micro_batch_tokens):
        rows = case.rows_per_micro_batch * case.micro_batches
        assert rows * case.sequence_length == case.tokens_per_step
        assert case.rows_per_micro_batch == 1 or (
            case.rows_per_micro_batch * case.sequence_length <= case.micro_batch_tokens)


def test_penstock_runs_the_smoke_case(tmp_path):
    command = [sys.executable, PEERS / "run_peers.py", "--case", "smoke", "--device", "host", "--peer", "penstock",
               "megatrain", "--warmup", "1", "--steps", "2", "--penstock", os.environ["PENSTOCK_BINARY"], "--out",
               "here", "--results", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "here.json").read_text())
    penstock, megatrain = report["results"]
    assert len(penstock["step_seconds"]) == 3
    last = sorted(penstock["step_seconds"][1:])
    assert penstock["tokens_per_second"] == pytest.approx(512 / (sum(last) / 2))
    assert penstock["host_peak_bytes"] > 50 << 20
    assert megatrain["skipped"] == "needs a card"
    text = (tmp_path / "here.txt").read_text()
    assert "needs a card" in text and f"{penstock['tokens_per_second']:.0f}" in text
    assert str(tmp_path) not in json.dumps(report) + text
    assert os.environ["PENSTOCK_BINARY"] not in json.dumps(report) + text


def test_without_a_card_nothing_is_measured():
    environment = {**os.environ, "PATH": "/nowhere"}
    result = subprocess.run([sys.executable, PEERS / "run_peers.py"], capture_output=True, text=True, check=False,
                            env=environment)
    if Path("/usr/lib/wsl/lib/nvidia-smi").exists():
        pytest.skip("nvidia-smi cannot be hidden here")
    assert result.returncode == 1
    assert result.stderr.startswith("no card: ") and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("option, file, kind", [
    ("megatrain", "infinity/model/cpu_master.py", runners.MegaTrain), ("llmq", "build/train", runners.LlmQ),
    ("deepspeed", "deepspeed/__init__.py", runners.DeepSpeed)])
def test_a_checkout_is_refused_by_the_file_it_lacks(option, file, kind, tmp_path):
    case = CASES["smoke"]
    with pytest.raises(runners.Skipped, match=f"only with --{option} DIR"):
        kind(arguments()).check(case)
    given = arguments(**{option: tmp_path})
    with pytest.raises(runners.Skipped, match=f"--{option} {tmp_path} has no {file}"):
        kind(given).check(case)
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    kind(given).check(case)


def test_what_does_not_fit_is_not_started():
    machine = {"card": "a card", "card_mib": "24564"}
    with pytest.raises(runners.Skipped, match="GiB on the device"):
        run_peers.check_fits(runners.HfTrainer(arguments()), CASES["llama-3.1-8b-4k"], machine)
    with pytest.raises(runners.Skipped, match="needs a card"):
        run_peers.check_fits(runners.LlmQ(arguments()), CASES["smoke"], {})
    runner = runners.Penstock(arguments())
    runner.host_bytes_per_parameter = 10**6
    with pytest.raises(runners.Skipped, match="GiB of RAM"):
        run_peers.check_fits(runner, CASES["qwen2.5-3b-16k"], machine)
    run_peers.check_fits(runners.HfTrainer(arguments()), CASES["smoke"], machine)


def test_llmq_reads_our_tokens_and_we_its_steps(tmp_path):
    case = CASES["smoke"]
    rows = tmp_path / "rows.jsonl"
    run_peers.write_rows(case, 3, rows)
    runner = runners.LlmQ(arguments(llmq=tmp_path))
    command = runner.command(case, tmp_path, rows)
    assert {"--seq-len=64", "--batch-size=2", "--grad-accumulation=4", "--steps=3"} <= set(command)
    tokens = (tmp_path / "tokens.bin").read_bytes()
    assert tokens[:8] == b"BIN.TOK\n" and struct.unpack("<5i", tokens[8:28]) == (2, 4, 3 * 512, 512, 0)
    expected = [token for line in rows.read_text().splitlines() for token in json.loads(line)["input_ids"]]
    assert list(struct.unpack(f"<{3 * 512}i", tokens[1024:])) == expected
    out = ("Starting\n"
           "[T] step     0 [  0.5%] | time: 11063 ms | norm  14.363219 | loss  12.122908 | tps 47391 | sol 58.0%\n"
           "[V] step     1 [  0.0%] | time:   165 ms | eval   2.945187 | train  3.295834 | tps  148k\n"
           "[T] step     1 [  1.0%] | time:   189  s | norm  23.730993 | loss  10.803814 | tps  2773 | sol 72.3%\n")
    assert runner.seconds(case, tmp_path, Outcome(0, out, "", 0, 0)) == [11.063, 189.0]


def test_too_few_steps_are_no_result():
    with pytest.raises(runners.Skipped, match="2 of 3 steps"):
        runners.median_tokens_per_second(CASES["smoke"], [1.0, 1.0], 1, 2)
    assert math.isclose(runners.median_tokens_per_second(CASES["smoke"], [9.0, 1.0, 3.0, 9.0], 1, 2), 256.0)


def test_a_failure_is_one_line_that_says_why():
    err = "Traceback\n  torch.OutOfMemoryError: CUDA out of memory. Tried to allocate\nsomething later\n"
    assert "CUDA out of memory" in run_peers.failure(Outcome(1, "", err, 0, 0), 60)
    assert run_peers.failure(Outcome(1, "", "one\n\ntwo\n", 0, 0), 60) == "exit code 1: two"
    assert run_peers.failure(Outcome(None, "", "", 0, 0), 60) == "took more than 60 s"


def test_a_process_group_ends_with_its_time_limit(tmp_path):
    outcome = run_watched(["sh", "-c", "echo started; tail -f /dev/null & wait"], tmp_path, {}, None, timeout=0)
    assert outcome.code is None  # and communicate() came back, so the grandchild has let go of the pipe


def test_memory_of_grandchildren_is_seen():
    code = "import sys; b = b'x' * (300 << 20); print('ready', flush=True); sys.stdin.read()"
    shell = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, code]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        assert tree_bytes(process.pid) > 300 << 20


def test_paths_stay_out_of_the_recorded_command(monkeypatch):
    line = ["run_peers.py", "--case", "smoke", "--llmq", "/a/b", "--megatrain=/c", "--out", "x"]
    monkeypatch.setattr(sys, "argv", line)
    assert run_peers.recorded_command() == "bench/peers/run_peers.py --case smoke --llmq ... --out x"
