"""The scripts that decide something: skipped GPU tests counted, a card's tests run into logs, architectures chosen.
With fake programs in place of ctest, nvidia-smi and the tests."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"


def write_program(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def run(command, folder, **environment):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd=folder,
        env={"PATH": f"{folder}:/usr/bin:/bin", **{name: str(value) for name, value in environment.items()}})


# run_ctest.py

LISTING = """Test project /somewhere
  Test  #7: CudaNorm.Forward
  Test #12: Shapes/CudaNorm.Backward/odd  # GetParam() = 7

Total Tests: 2
"""
HEAD = """    Start  1: Arena.Grows
1/4 Test  #1: Arena.Grows ......................   Passed    0.01 sec
    Start  7: CudaNorm.Forward
2/4 Test  #7: CudaNorm.Forward .................{forward}    0.43 sec
3/4 Test #12: Shapes/CudaNorm.Backward/odd  # GetParam() = 7 ...***Skipped   0.45 sec
4/4 Test #13: Fast.NeedsAvx512 .................***Skipped   0.01 sec

"""
SUMMARY = "100% tests passed, 0 tests failed out of 4\n\nTotal Test time (real) =   1.00 sec\n"


def run_ctest(tmp_path, listing, output, code=0):
    (tmp_path / "listing").write_text(listing)
    (tmp_path / "output").write_text(output)
    fake = write_program(tmp_path / "ctest", f'case "$*" in *-N*) cat listing;; *) cat output; exit {code};; esac\n')
    return run([sys.executable, SCRIPTS / "run_ctest.py", fake, "-j2"], tmp_path)


def test_skipped_gpu_tests_are_counted_right_before_the_summary(tmp_path):
    head = HEAD.format(forward="***Skipped")
    result = run_ctest(tmp_path, LISTING, head + SUMMARY)
    before, line, after = result.stdout.partition("GPU: 2 OF 2 GPU TESTS WERE SKIPPED")
    assert line and before == head and after.partition("\n\n")[2] == SUMMARY


def test_gpu_tests_that_ran_or_failed_are_not_skipped(tmp_path):
    for outcome in ("   Passed", "***Failed"):
        result = run_ctest(tmp_path, LISTING, HEAD.format(forward=outcome) + SUMMARY, code=8)
        assert "GPU: 1 OF 2 GPU TESTS WERE SKIPPED" in result.stdout
        assert result.returncode == 8


def test_without_gpu_tests_it_says_so(tmp_path):
    result = run_ctest(tmp_path, "Total Tests: 0\n", HEAD.format(forward="***Skipped") + SUMMARY)
    assert "GPU: no GPU test was selected\n\n100% tests passed" in result.stdout


# gpu_tests.sh

CARD = 'case "$1" in -L) echo "GPU 0";; *) echo name; echo "A card, 1 MiB, 580, 9.0";; esac\n'
SKIPPING = """cat <<END
[  SKIPPED ] A.B (0 ms)
[  SKIPPED ] C.D (12 ms)
[  SKIPPED ] 2 tests, listed below:
END
"""


@pytest.fixture
def machine(tmp_path):
    """A folder with a card and the programs of a portable build."""
    write_program(tmp_path / "nvidia-smi", CARD)
    write_program(tmp_path / "test_cuda", 'echo "ran $*"\n')
    write_program(tmp_path / "kernel_bench", "echo 80%\n")
    write_program(tmp_path / "launch_bench", "echo 5 us\n")
    write_program(tmp_path / "link_bench", "echo 25 GB/s\n")
    # Says which tool it was, runs the program, and finds an error in one tool.
    write_program(tmp_path / "compute-sanitizer", 'echo "$@"; [ "$2" != racecheck ] || exit 99\n')
    return tmp_path


def gpu_tests(folder):
    result = run([SCRIPTS / "gpu_tests.sh", folder / "logs"], folder, PENSTOCK_PROGRAMS=folder)
    summary = folder / "logs" / "summary.txt"
    return result, summary.read_text().splitlines() if summary.exists() else []


def test_without_a_card_nothing_runs(machine):
    write_program(machine / "nvidia-smi", "exit 9\n")
    result, summary = gpu_tests(machine)
    assert (result.returncode, summary) == (70, [])
    assert "no card" in result.stderr


def test_a_tool_that_finds_something_fails_the_run(machine):
    result, summary = gpu_tests(machine)
    assert result.returncode == 1
    assert [line.split()[:2] for line in summary[1:]] == [
        ["passed", "test_cuda"], ["passed", "sanitizer_memcheck"], ["FAILED", "sanitizer_racecheck"],
        ["passed", "sanitizer_initcheck"], ["passed", "sanitizer_synccheck"], ["passed", "kernel_bench"],
        ["passed", "launch_bench"], ["passed", "link_bench"]]
    assert (machine / "logs/kernel_bench.log").read_text() == "80%\n"
    assert "--target-processes all" in (machine / "logs/sanitizer_memcheck.log").read_text()


def test_what_did_not_run_is_said(machine):
    write_program(machine / "test_cuda", SKIPPING)
    (machine / "compute-sanitizer").unlink()
    (machine / "kernel_bench").unlink()
    result, summary = gpu_tests(machine)
    assert "SKIPPED  2 tests of test_cuda: they checked nothing" in summary
    assert [line[:8] for line in summary[-4:]] == ["NOT RUN ", "NOT RUN ", "passed  ", "passed  "]


def test_a_filter_that_finds_no_test_fails_the_run(machine):
    write_program(machine / "compute-sanitizer", "echo '[==========] 0 tests from 0 test suites ran. (0 ms total)'\n")
    result, summary = gpu_tests(machine)
    assert result.returncode == 1 and summary[2].startswith("FAILED   sanitizer_memcheck: no test")


def test_failing_tests_fail_the_run(machine):
    write_program(machine / "test_cuda", "exit 1\n")
    write_program(machine / "compute-sanitizer", "true\n")
    result, summary = gpu_tests(machine)
    assert result.returncode == 1 and summary[1].startswith("FAILED   test_cuda (exit code 1)")


# cmake/cuda_architectures.cmake

def architectures(tmp_path, **environment):
    script = tmp_path / "choose.cmake"
    script.write_text(f'include("{REPOSITORY}/cmake/cuda_architectures.cmake")\n'
                      'penstock_choose_cuda_architectures(chosen)\nmessage("chosen=${chosen}")\n')
    result = run(["cmake", "-P", script], tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    return result.stderr.partition("chosen=")[2].strip(), result.stderr


@pytest.mark.parametrize("capabilities, expected", [
    ("8.0", "80-real"), ("8.6", "86-real"), ("8.7", "86-real"), ("8.9", "89-real"), ("9.0", "90a-real"),
    ("10.0", "100-real"), ("10.3", "100-real"), ("11.0", "110-real"), ("12.0", "120"), ("12.1", "120"), ("13.0", "120"),
    ("8.9\n8.9\n12.0", "89-real;120"), ("7.5", "80"), ("7.5\n8.6", "86-real")])
def test_a_card_gets_its_own_code(tmp_path, capabilities, expected):
    write_program(tmp_path / "nvidia-smi", f"printf '{capabilities}\\n'\n")
    chosen, warnings = architectures(tmp_path)
    assert chosen == expected
    assert ("7.5 cannot be used" in warnings) == ("7.5" in capabilities)


def test_without_a_card_one_architecture_with_ptx(tmp_path):
    write_program(tmp_path / "nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9\n")
    assert architectures(tmp_path)[0] == "80"


def test_the_environment_comes_before_the_card(tmp_path):
    write_program(tmp_path / "nvidia-smi", "echo 8.9\n")
    assert architectures(tmp_path, PENSTOCK_CUDA_ARCHITECTURES="90a-real 120")[0] == "90a-real;120"
    everything = architectures(tmp_path, PENSTOCK_CUDA_ARCHITECTURES="all")[0]
    assert everything == "80-real;86-real;89-real;90a-real;100-real;120"
