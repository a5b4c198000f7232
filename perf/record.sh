#!/usr/bin/env bash
# Where the time goes: a flame graph and a table of a vmsgrd's loops.
set -euo pipefail
# shellcheck source=perf/common.sh
source "$(dirname "$0")/common.sh"

usage() {
    cat <<EOF
Usage: perf/record.sh [--pid PID | --workload NAME --kind KIND] [--loop N|all] [--seconds S] --out DIR

Samples the loops of a vmsgrd with their call stacks and writes to DIR: flamegraph.svg (open it in a
browser: it can be searched and zoomed), stacks.folded, top20.txt and perf.data.

$common_help
  --loop N         only the loop on core N, or 'all' [default: all]
  --stacks WAY     how callers are found: dwarf (copies of the stack, unwound afterwards) or fp (frame
                   pointers: cheaper, but a libc without them hides who made a system call)
                   [default: dwarf]
  --out DIR        where to; made if it does not exist

Samples are of CPU cycles; where the machine does not count them, of CPU time. As a user, the kernel's
part is seen only if kernel.perf_event_paranoid is 1 or less.

$common_environment

Examples:
  perf/record.sh --workload fan --out profile/fan
  perf/record.sh --workload pipeline --seconds 10 --out profile/pipeline
  perf/record.sh --pid \$(pidof vmsgrd) --loop 1 --out profile/core1
EOF
}

loop=all stacks=dwarf out=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --loop) loop=$(value "$@") ;;
    --stacks) stacks=$(value "$@") ;;
    --out) out=$(value "$@") ;;
    *) common_option "$@" || fail "no option '$1'; --help lists them" ;;
    esac
    shift 2
done
[ -n "$out" ] || fail "--out DIR is missing; --help has examples"
case $stacks in
dwarf) stacks=dwarf,8192 ;;
fp) ;;
*) fail "--stacks takes dwarf or fp, not '$stacks'" ;;
esac
need_perf
need_inferno

start_or_attach $((seconds + 20))
threads=$(loops "$loop")
[ -n "$threads" ] || fail "no loop on core $loop; there are: $(cat /proc/"$pid"/task/*/comm | grep vmsgr/ | tr '\n' ' ')"
choose_event
mkdir -p "$out"
# 999: not in step with what happens every millisecond.
perf record --quiet --freq 999 --call-graph "$stacks" --event "$event" --tid "$threads" --output "$out/perf.data" \
    -- sleep "$seconds" >&2
perf script --no-inline --input "$out/perf.data" 2>"$scratch/script.err" >"$scratch/script" ||
    fail "perf script: $(tail -n 1 "$scratch/script.err")"
inferno-collapse-perf --kernel <"$scratch/script" >"$out/stacks.folded" 2>"$scratch/collapse.err" ||
    fail "inferno-collapse-perf: $(tail -n 1 "$scratch/collapse.err")"
[ -s "$out/stacks.folded" ] || fail "no samples in $seconds s: $what does nothing"
inferno-flamegraph --colors rust --title "vmsgrd: $what" --subtitle "$event, $seconds s" \
    <"$out/stacks.folded" >"$out/flamegraph.svg"

# table PATTERN TITLE: the functions that match, by their own share, and with all that they call.
table() {
    printf '%s\n  %6s %6s  function\n' "$2" self total
    awk -v kind="$1" '
        {
            count = $NF
            line = $0
            sub(/ [0-9]+$/, "", line)
            depth = split(line, frame, ";")
            split("", seen)
            all += count
            own[frame[depth]] += count
            for (i = 2; i <= depth; i++)
                if (!(frame[i] in seen)) { seen[frame[i]] = 1; total[frame[i]] += count }
        }
        END {
            for (name in total) {
                kernel = name ~ /_\[k\]$/
                if (kind == "all" || (kind == "user" && !kernel))
                    printf "  %5.1f%% %5.1f%%  %s\n", 100 * own[name] / all, 100 * total[name] / all, name
            }
        }' "$out/stacks.folded" | sort -rn -k1,1 -k2,2 | awk 'NR <= 20'
}
{
    echo "vmsgrd: $what; $event, $seconds s, $(awk 'BEGIN { RS = "" } END { print NR }' "$scratch/script") samples"
    awk '{ line = $0; sub(/ [0-9]+$/, "", line); all += $NF; if (line ~ /_\[k\]/) kernel += $NF }
        END { printf "in the kernel: %.1f%%, in user space: %.1f%%\n\n", 100 * kernel / all, 100 - 100 * kernel / all }' \
        "$out/stacks.folded"
    table all "Top 20 (the kernel's are marked _[k])"
    echo
    table user "Top 20 in user space"
} >"$out/top20.txt"
cat "$out/top20.txt"
say "written to $out: flamegraph.svg, top20.txt, stacks.folded, perf.data"
