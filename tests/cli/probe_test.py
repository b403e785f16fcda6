"""penstock probe, what plan and doctor make of it, and where it is kept. Nobody judges how fast this machine is."""

import json
import os
import re
from pathlib import Path

import pytest
from penstock_runner import penstock

CONFIG = """
model: {hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 2}
dataset: {path: text.txt, max_seq_len: 16}
training: {max_steps: 2}
device: {backend: host}
"""

NO_TEXT = "caf\udce9"  # a folder's name in Latin-1


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A folder with a configuration, a cache of its own, and the result of one quick probe of the host."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "text.txt").write_text("to be trained on, again and again. " * 50)
    (folder / "a.yaml").write_text(CONFIG)
    (folder / NO_TEXT).mkdir()
    cache = {"XDG_CACHE_HOME": str(folder / "cache")}
    probed = penstock("probe", "--quick", "--json", "--device", "host", "--output-dir", NO_TEXT + "/out", cwd=folder,
                      env=cache)
    return folder, cache, probed


def saved(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "penstock").glob("*"))


def test_the_json_has_every_figure_in_a_plausible_range(machine):
    folder, _, probed = machine
    result = json.loads(probed.out)
    cores = result["machine"]["topology"]["cores"]
    assert 1 <= cores <= os.cpu_count()
    threads = [rate["threads"] for rate in result["stream"]["in_place"]]
    assert threads[0] == 1 and threads[-1] == cores and result["stream"]["knee"] in threads
    touch = result["first_touch_seconds_per_gib"]
    rates = {
        "GB/s": [rate["gbps"] for rate in result["stream"]["in_place"]]
        + [result["stream"]["copy_gbps"], *(result["link"][way] for way in ("h2d_gbps", "d2h_gbps", "both_gbps"))],
        "TFLOP/s": [rate["tflops"] for rate in result["gemm"]],
        "s/GiB": [value for key, value in touch.items() if key != "threads"],
    }
    for unit, values in rates.items():
        assert all(1e-6 < value < 1e5 for value in values), (unit, values)
    assert [rate["dtype"] for rate in result["gemm"]] == ["float32", "bfloat16"]
    assert result["machine"]["memory"]["ram_bytes"] > 2**26
    assert result["identity"]["device"] == "host" and result["pinning"] is None
    assert result["disk"]["problem"] or result["disk"]["write_gbps"] > 0
    assert result["disk"]["folder"] == str(folder / "caf\ufffd")
    assert result["compute_threads"] == result["machine"]["topology"]["cpus"]
    assert isinstance(result["io_uring"]["available"], bool)


def test_it_is_saved_once_and_leaves_nothing_else(machine):
    folder, _, probed = machine
    assert len(saved(folder)) == 1
    assert str(saved(folder)[0]) in probed.err
    assert not list((folder / NO_TEXT).iterdir()) and not list(folder.glob(".penstock*"))


def test_a_quick_probe_does_not_replace_a_full_one(machine, tmp_path):
    """Nor does a folder that cannot be written to keep it from its end."""
    folder, _, _ = machine
    kept = tmp_path / "cache" / "penstock" / saved(folder)[0].name
    kept.parent.mkdir(parents=True)
    full = json.loads(saved(folder)[0].read_text())
    full["quick"] = False
    kept.write_text(json.dumps(full))
    again = penstock(
        "probe", "--quick", "--json", "--device", "host", "--output-dir", "/proc", cwd=tmp_path,
        env={"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert "not saved" in again.err
    assert json.loads(again.out)["disk"]["problem"]
    assert json.loads(kept.read_text()) == full


def test_plan_predicts_from_the_saved_probe(machine):
    folder, cache, _ = machine
    text = penstock("plan", "a.yaml", cwd=folder, env=cache).out
    assert "predicted from the saved probe" in text and "tok/s" in text
    slow = json.loads(penstock("plan", "a.yaml", "--json", "h2d_gbps=0.001", cwd=folder, env=cache).out)["prediction"]
    fast = json.loads(penstock("plan", "a.yaml", "--json", "h2d_gbps=1000", cwd=folder, env=cache).out)["prediction"]
    assert slow["busy_seconds"]["fetch"] > 100 * fast["busy_seconds"]["fetch"] > 0
    assert slow["tokens_per_second"] == pytest.approx(slow["tokens"] / slow["step_seconds"])
    assert slow["break_even_tokens"] == fast["break_even_tokens"] > 0


def test_plan_without_a_probe_names_it(machine, tmp_path):
    folder, _, _ = machine
    empty = {"XDG_CACHE_HOME": str(tmp_path)}
    plan = penstock("plan", "a.yaml", cwd=folder, env=empty)
    assert "penstock probe" in plan.out and "predicted" not in plan.out
    assert json.loads(penstock("plan", "a.yaml", "--json", cwd=folder, env=empty).out)["prediction"] is None


def test_a_damaged_probe_is_one_warning(machine, tmp_path):
    folder, _, _ = machine
    damaged = tmp_path / "penstock" / saved(folder)[0].name
    damaged.parent.mkdir()
    damaged.write_text(saved(folder)[0].read_text()[:200])
    plan = penstock("plan", "a.yaml", cwd=folder, env={"XDG_CACHE_HOME": str(tmp_path)})
    assert plan.err.count("warning: ") == 1 and "penstock probe replaces it" in plan.err
    assert "no prediction" in plan.out


def test_the_screen_fits_and_nowhere_to_save_is_one_notice(tmp_path):
    homeless = {"XDG_CACHE_HOME": "", "HOME": ""}
    probed = penstock("probe", "--quick", "--device", "host", cwd=tmp_path, env=homeless)
    assert probed.err.count("is not saved") == 1
    assert list(tmp_path.iterdir()) == []
    lines = probed.out.splitlines()
    assert len(lines) <= 50 and lines[0].startswith("machine ")
    assert all(len(line) <= 100 or re.search(r"(^|[ (])/\w", line) for line in lines)  # a path has no spaces


def test_usage_errors(machine):
    folder, cache, _ = machine
    assert "--device" in penstock("probe", "--device", "gpu", cwd=folder, env=cache, expect=64).err
    assert "device.backend" in penstock("probe", "--device", "cuda", cwd=folder, env=cache, expect=70).err


def test_doctor_runs_with_and_without_a_configuration(machine, tmp_path):
    folder, cache, _ = machine
    for arguments in ([], ["a.yaml"]):
        report = json.loads(penstock("doctor", *arguments, "--json", cwd=folder, env=cache).out)
        names = [finding["name"] for finding in report["findings"]] + [finding["name"] for finding in report["good"]]
        assert len(names) == len(set(names)) and {"instruction_set", "probe", "affinity", "disk"} <= set(names)
        assert all(finding["remedy"] for finding in report["findings"])
    text = penstock("doctor", cwd=folder, env={"XDG_CACHE_HOME": str(tmp_path)}).out
    assert "this machine has not been measured" in text and "Remedy: penstock probe" in text


def test_doctor_takes_keys_only_with_a_configuration(machine):
    folder, cache, _ = machine
    assert "--memory.numa=1" in penstock("doctor", "--memory.numa=1", cwd=folder, env=cache, expect=64).err


def test_doctor_compares_the_configuration_with_the_probe(machine, tmp_path):
    folder, _, _ = machine
    probe = json.loads(saved(folder)[0].read_text())
    probe["stream"]["in_place"] = [{"threads": 1, "gbps": 1.0}, {"threads": 2, "gbps": 2.0}]
    probe["stream"]["knee"] = 2
    edited = tmp_path / "penstock" / saved(folder)[0].name
    edited.parent.mkdir()
    edited.write_text(json.dumps(probe))
    found = penstock("doctor", "a.yaml", "optimizer.threads=1", cwd=folder, env={"XDG_CACHE_HOME": str(tmp_path)})
    assert "optimizer.threads is 1" in found.out


def test_doctor_speaks_of_checkpoints_only_where_there_are_any(machine):
    folder, cache, _ = machine
    shape = ["hidden_size=65536", "intermediate_size=262144", "num_hidden_layers=1000"]  # 10^13 parameters
    saving = penstock("doctor", "a.yaml", *shape, cwd=folder, env=cache)
    assert "two checkpoints need" in saving.out
    without = penstock("doctor", "a.yaml", *shape, "save_strategy=no", "huge_pages=false", cwd=folder, env=cache)
    assert "checkpoint" not in without.out
    assert "huge_pages" in without.out or "huge pages are off" in without.out
    kept = penstock("doctor", "a.yaml", f"output_dir={folder}/{NO_TEXT}", "--json", cwd=folder, env=cache)
    assert any(finding["name"] == "disk" for finding in sum(json.loads(kept.out).values(), []))
