#!/usr/bin/env bash
# Where a vmsgrd's loops wait: asleep for lack of work, or ready and without a core.
set -euo pipefail
# shellcheck source=perf/common.sh
source "$(dirname "$0")/common.sh"

usage() {
    cat <<EOF
Usage: perf/offcpu.sh [--pid PID | --workload NAME [--kind KIND]] [--loop N|all] [--seconds S] [--out DIR]

Follows the scheduler: how long the loops run, how long they sleep and in which call, how long they are
ready and wait for their core. With --out also offcpu.svg, a flame graph of the time that is not run, by
the call stack that gave the core away.

$common_help
  --loop N         only the loop on core N, or 'all' [default: all]
  --out DIR        where to write offcpu.svg and offcpu.folded (microseconds)

This needs the scheduler's tracepoints (root, or kernel.perf_event_paranoid=-1). Without them only the
sums of /proc/PID/task/TID/schedstat are printed; and if there is --out, that is a failure, after the sums.

$common_environment

Examples:
  perf/offcpu.sh --workload ping
  perf/offcpu.sh --workload fan --out profile/fan
  perf/offcpu.sh --pid \$(pidof vmsgrd) --seconds 10
EOF
}

loop=all out=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --loop) loop=$(value "$@") ;;
    --out) out=$(value "$@") ;;
    *) common_option "$@" || fail "no option '$1'; --help lists them" ;;
    esac
    shift 2
done
need_perf
if [ -n "$out" ]; then need_inferno; fi
start_or_attach $((seconds * 2 + 20))
threads=$(loops "$loop")
[ -n "$threads" ] || fail "no loop on core $loop"

# A stretch of the loops' lives, between two looks at what the kernel counts.
stretch() {
    schedstat "$1.before"
    sleep "$2"
    schedstat "$1.after"
}
export -f stretch

traced=yes
tracepoints || traced=no
if [ $traced = yes ]; then
    switch='' wake=''
    for thread in ${threads//,/ }; do
        switch="${switch:+$switch || }prev_pid==$thread || next_pid==$thread"
        wake="${wake:+$wake || }pid==$thread"
    done
    # Of all cores: who switches to a loop is another thread.
    under perf record --quiet --all-cpus --call-graph dwarf,8192 \
        --event sched:sched_switch --filter "$switch" --event sched:sched_waking --filter "$wake" \
        --output "$scratch/perf.data" -- stretch "$scratch/stretch" "$seconds" >&2
else
    stretch "$scratch/stretch" "$seconds"
fi
read -r begun run_before wait_before times_before <"$scratch/stretch.before"
read -r ended run wait times <"$scratch/stretch.after"
awk -v what="$what" -v ns=$((ended - begun)) -v loops="$(tr ',' '\n' <<<"$threads" | wc -l)" \
    -v run=$((run - run_before)) -v wait=$((wait - wait_before)) -v times=$((times - times_before)) '
    BEGIN {
        all = ns * loops
        printf "%s, %.1f s, %d loops\n\n", what, ns / 1e9, loops
        printf "  %6.1f%%  on a core\n", 100 * run / all
        printf "  %6.1f%%  ready, waiting for a core\n", 100 * wait / all
        printf "  %6.1f%%  asleep\n", 100 * (all - run - wait) / all
        if (times)
            printf "  %d times on a core: each %.1f us run, %.1f us of waiting for the core before\n", \
                times, run / times / 1e3, wait / times / 1e3
    }'
if [ $traced = no ]; then
    [ -z "$out" ] || fail "nothing was written to $out: a flame graph needs tracepoints" \
        "(kernel.perf_event_paranoid is $(paranoid))"
    exit 0
fi

perf script --no-inline --ns --fields tid,time,event,trace,ip,sym --input "$scratch/perf.data" \
    >"$scratch/script" 2>"$scratch/script.err" || fail "perf script: $(tail -n 1 "$scratch/script.err")"
# One event is a line, its stack below it (innermost first), an empty line. A stretch off the core
# begins with a switch from the thread, with the state in which it left, and ends with one to it; if it
# slept, there is a wakeup in between.
awk -v threads="$threads" -v folded="$scratch/folded" '
    BEGIN {
        n = split(threads, list, ",")
        for (i = 1; i <= n; i++) ours[list[i]] = 1
    }
    function stack_of(text,    lines, count, i, frame, joined) {
        count = split(text, lines, "\n")
        joined = "vmsgrd"
        for (i = count; i >= 1; i--) {
            frame = lines[i]
            sub(/^[ \t]*[0-9a-f]+ /, "", frame)
            gsub(/;/, ":", frame)
            if (frame != "" && frame != "[unknown]") joined = joined ";" frame
        }
        return joined
    }
    # The call in which it slept: the outermost frame of the kernel that is a system call.
    function call_of(text,    lines, count, i, frame) {
        count = split(text, lines, "\n")
        for (i = 1; i <= count; i++)
            if (match(lines[i], /__x64_sys_[a-z0-9_]+|__arm64_sys_[a-z0-9_]+/)) {
                frame = substr(lines[i], RSTART, RLENGTH)
                sub(/^__[a-z0-9]+_sys_/, "", frame)
                return frame
            }
        return "no system call"
    }
    function finish_event(    thread, from, to, gone, kind) {
        if (event ~ /sched_switch/) {
            match(header, /prev_pid=[0-9]+/); from = substr(header, RSTART + 9, RLENGTH - 9)
            match(header, /next_pid=[0-9]+/); to = substr(header, RSTART + 9, RLENGTH - 9)
            if (from in ours) {
                left[from] = time
                match(header, /prev_state=[A-Z+]+/)
                slept[from] = substr(header, RSTART + 11, 1) != "R"
                stack[from] = stack_of(text)
                where[from] = slept[from] ? call_of(text) : "preempted"
                delete waking[from]
            }
            if ((to in ours) && (to in left)) {
                gone = (time - left[to]) * 1e6
                kind = slept[to] ? "asleep in " where[to] : "ready, but preempted"
                count[kind]++; sum[kind] += gone
                if (gone > most[kind]) most[kind] = gone
                micros[stack[to]] += gone
                if (slept[to] && (to in waking)) {
                    late = (time - waking[to]) * 1e6
                    kind = "  of it between the wakeup and the core"
                    count[kind]++; sum[kind] += late
                    if (late > most[kind]) most[kind] = late
                }
                delete left[to]
            }
        } else if (match(header, / pid=[0-9]+/)) {
            thread = substr(header, RSTART + 5, RLENGTH - 5)
            if (!(thread in waking)) waking[thread] = time
        }
    }
    /^$/ { if (header != "") finish_event(); header = ""; text = ""; next }
    header == "" {
        header = $0
        match(header, /[0-9]+\.[0-9]+:/); time = substr(header, RSTART, RLENGTH - 1) + 0
        match(header, /sched:sched_[a-z]+/); event = substr(header, RSTART, RLENGTH)
        next
    }
    { text = text $0 "\n" }
    END {
        if (header != "") finish_event()
        printf "\n  %9s %9s %9s %9s\n", "times", "ms", "mean us", "most us"
        for (kind in count)
            printf "  %9d %9.1f %9.1f %9.1f  %s\n", count[kind], sum[kind] / 1e3, sum[kind] / count[kind], most[kind], kind
        for (s in micros) printf "%s %d\n", s, micros[s] > folded
    }' "$scratch/script" >"$scratch/table"
head -n 2 "$scratch/table"
tail -n +3 "$scratch/table" | sort -rn -k2,2
if [ -n "$out" ]; then
    [ -s "$scratch/folded" ] || fail "nothing was written to $out: the loops never left their core"
    mkdir -p "$out"
    cp "$scratch/folded" "$out/offcpu.folded"
    inferno-flamegraph --colors blue --countname us --title "vmsgrd off its core: $what" \
        --subtitle "$seconds s" <"$out/offcpu.folded" >"$out/offcpu.svg"
    say "written to $out: offcpu.svg, offcpu.folded"
fi
