#!/usr/bin/env python3
"""Runs ctest and says, right before its summary, how many GPU tests were skipped. Nothing else of its output changes.

    run_ctest.py CTEST [ARGUMENTS]          exits as ctest does
"""

import re
import subprocess
import sys

LISTED = re.compile(r"^\s*Test\s+#\d+: (\S+)")
RESULT = re.compile(r"^\s*\d+/\d+ Test\s+#\d+: (\S+) .*?(\*\*\*Skipped|\*\*\*Not Run|Passed|\*\*\*)")
SUMMARY = re.compile(r"^\d+% tests passed")


def gpu_tests(command):
    """Names of the selected tests that want a card."""
    listing = subprocess.run([*command, "-N", "-L", "^gpu$"], capture_output=True, text=True, check=False).stdout
    return {match[1] for match in map(LISTED.match, listing.splitlines()) if match}


def skipped_line(skipped, selected):
    if skipped == 0:
        return f"GPU: none of the {selected} GPU tests was skipped" if selected else "GPU: no GPU test was selected"
    return (f"GPU: {skipped} OF {selected} GPU TESTS WERE SKIPPED, because there is no CUDA device: "
            "what they check was not checked")


def main():
    command = sys.argv[1:]
    if not command:
        sys.exit("usage: run_ctest.py CTEST [ARGUMENTS]")
    wanted = gpu_tests(command)
    skipped = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as ctest:
        for line in ctest.stdout:
            result = RESULT.match(line)
            if result and result[1] in wanted and result[2] == "***Skipped":
                skipped += 1
            if SUMMARY.match(line):
                print(f"{skipped_line(skipped, len(wanted))}\n", flush=True)
            print(line, end="", flush=True)
    return ctest.returncode


if __name__ == "__main__":
    sys.exit(main())
