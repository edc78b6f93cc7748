#!/usr/bin/env bash
# Runs each fuzz target from its seeds for a while: tests/fuzz/run.sh build/fuzz 60
#
# What a run learns is kept beside the build, and the next one goes on from there. A finding (a crash,
# a property that does not hold, an input that takes more than 2 seconds or 512 MB) fails, and its
# input stays in <build>/fuzz/<target>; run the target with that file alone to see it again.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
build=$1
seconds=$2
# What was freed is kept for a while, so that its use is seen; it counts as memory in use.
export ASAN_OPTIONS=quarantine_size_mb=64 UBSAN_OPTIONS=print_stacktrace=1
failed=()
for target in codec router binding token event; do
  learnt=$build/fuzz/$target
  mkdir -p "$learnt/corpus"
  printf '=== %s for %s s\n' "$target" "$seconds"
  result=0
  "$build/bin/${target}_fuzz" -max_total_time="$seconds" -timeout=2 -rss_limit_mb=512 -max_len=4096 \
    -dict="$here/tokens.dict" -artifact_prefix="$learnt/" -print_final_stats=1 \
    "$learnt/corpus" "$here/corpus/$target" >"$learnt/log" 2>&1 || result=$?
  if [ $result -eq 0 ]; then
    grep -E '^(stat::number_of_executed_units|stat::new_units_added|stat::peak_rss_mb)' "$learnt/log"
  else
    failed+=("$target")
    tail -60 "$learnt/log"
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  printf 'found something: %s\n' "${failed[*]}" >&2
  exit 1
fi
