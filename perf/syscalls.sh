#!/usr/bin/env bash
# Which system calls a vmsgrd makes: none while it is idle, few per message while it is busy.
set -euo pipefail
# shellcheck source=perf/common.sh
source "$(dirname "$0")/common.sh"

usage() {
    cat <<EOF
Usage: perf/syscalls.sh [--pid PID | --workload NAME --kind KIND] [--connections N] [--seconds S] [--only idle|busy]

Traces a vmsgrd with strace, first with idle connections, on which it must not make a single system call,
then under load, and prints the calls per message. With --pid, whatever that daemon has to do is traced as
"idle": it must have nothing to do.

$common_help
  --connections N  idle connections [default: 1000]
  --only WHICH     idle or busy [default: both; with --pid idle]

$common_environment

Examples:
  perf/syscalls.sh
  perf/syscalls.sh --only busy --workload pipeline
  perf/syscalls.sh --kind relay --connections 100
  perf/syscalls.sh --pid \$(pidof vmsgrd) --seconds 10

Exit codes: 0 no call while idle, 1 there were some, 2 something is missing or wrong
EOF
}

idle=1000 only=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --connections) idle=$(number "$@") ;;
    --only)
        only=$(value "$@")
        [[ $only =~ ^(idle|busy)$ ]] || fail "--only takes idle or busy, not '$only'"
        ;;
    *) common_option "$@" || fail "no option '$1'; --help lists them" ;;
    esac
    shift 2
done
need_strace
shape "$workload"
if [ -n "$pid" ]; then
    [ "$only" != busy ] || fail "a busy daemon is one that this script loads: leave --pid out"
    only=idle
    [ -d "/proc/$pid" ] || fail "no process $pid"
    [ -n "$(loops all)" ] || fail "process $pid has no thread named vmsgr/CORE: is it a vmsgrd?"
fi

sockets() { find "/proc/$pid/fd" -lname 'socket:*' 2>/dev/null | wc -l; }

look_at_idle() {
    local before i found
    if [ -z "${address:-}" ] && [ -z "$given" ]; then start_daemon; fi
    if [ -z "$given" ]; then
        before=$(sockets)
        "$bench" load "$address" --idle --connections "$idle" --duration $((seconds + 30)) \
            --core "$(next_core)" >"$scratch/load.out" 2>"$scratch/load.err" &
        load=$!
        started+=("$load")
        for ((i = 0; i < 100; i++)); do
            if [ "$(sockets)" -ge $((before + idle * passes)) ]; then break; fi
            kill -0 "$load" 2>/dev/null || fail "the load generator ended: $(tail -n 1 "$scratch/load.err")"
            sleep 0.1
        done
        [ "$(sockets)" -ge $((before + idle * passes)) ] || fail "only $(($(sockets) - before)) of $idle connections after 10 s"
    fi
    attach "$scratch/idle"
    # To attach interrupts each thread once, and it goes back to sleep: that is ours, not the daemon's.
    sleep 1
    before=$(wc -c <"$scratch/idle")
    sleep "$seconds"
    detach
    tail -c +$((before + 1)) "$scratch/idle" >"$scratch/calls"
    # The wait that was under way when the tracer left is reported as detached: it began before.
    found=$(grep -vc 'detached' "$scratch/calls" || true)
    if [ -z "$given" ]; then
        stop_load
        echo "idle, $idle connections, $seconds s: $found system calls"
    else
        echo "process $pid, $seconds s: $found system calls"
    fi
    if [ "$found" -gt 0 ]; then
        head -n 20 "$scratch/calls"
        echo "$self: an idle daemon makes no system call; these are the first that it made" >&2
        return 1
    fi
}

look_at_busy() {
    if [ -z "${address:-}" ]; then start_daemon; fi
    start_load $((seconds + 30))
    echo "busy, $kind under $workload:"
    trace_busy
    stop_load
}

given=$pid
outcome=0
if [ "$only" != busy ]; then look_at_idle || outcome=1; fi
if [ "$only" != idle ]; then look_at_busy; fi
exit $outcome
