#!/usr/bin/env bash
# Builds test programs with a sanitizer's preset and runs them: exit status 0 only if every test passed and the
# sanitizer had nothing to report.
#
#   tests/sanitizer/run_sanitized.sh SOURCE BUILD PRESET VENV PROGRAM[=GTEST_FILTER]...
#
# SOURCE is the tree, BUILD the folder of the preset's build: kept, so that a second run builds what has changed only.
# A filter that matches no test fails. Programs run at the same time.
set -uo pipefail

source_tree=$1
build=$2
preset=$3
venv=$4
shift 4

# A report fails the program with 66 even where every test passes; LSan's leaks and ASan's findings as well.
export TSAN_OPTIONS="exitcode=66 halt_on_error=1 second_deadlock_stack=1"
export ASAN_OPTIONS="exitcode=66 detect_leaks=1 strict_init_order=1 check_initialization_order=1"
export LSAN_OPTIONS="exitcode=66"

mkdir -p "$build"
programs=()
for argument in "$@"; do programs+=("${argument%%=*}"); done

if [[ ! -f $build/build.ninja || $venv/pyvenv.cfg -nt $build/CMakeCache.txt ]]; then
  (cd "$source_tree" && cmake --fresh --preset "$preset" -B "$build" -DPENSTOCK_VENV="$venv") || exit 1
fi
cmake --build "$build" --parallel "$(nproc)" --target "${programs[@]}" || exit 1

# The thread sanitizer of g++ 12 cannot live with the address layout of newer kernels: without randomness where allowed.
fixed_addresses=()
if setarch "$(uname -m)" -R true 2>/dev/null; then fixed_addresses=(setarch "$(uname -m)" -R); fi

failed=0
declare -A running
for argument in "$@"; do
  program=${argument%%=*}
  filter=${argument#"$program"}
  filter=${filter#=}
  "${fixed_addresses[@]}" "$build/tests/$program" --gtest_brief=1 --gtest_filter="${filter:-*}" \
    >"$build/$program.log" 2>&1 &
  running[$program]=$!
done
for program in "${programs[@]}"; do
  wait "${running[$program]}"
  status=$?
  passed=$(grep -E '^\[  PASSED  \] [1-9]' "$build/$program.log")
  if ((status == 0)) && [[ -n $passed ]]; then
    echo "$program: clean, $passed"
  else
    cat "$build/$program.log"
    echo "$program: exit status $status with preset $preset"
    failed=1
  fi
done
exit "$failed"
