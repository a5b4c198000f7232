#!/usr/bin/env bash
# What one message costs: instructions, cycles, system calls by name, wakeups, epoll_ctl by operation.
set -euo pipefail
# shellcheck source=perf/common.sh
source "$(dirname "$0")/common.sh"

usage() {
    cat <<EOF
Usage: perf/stat.sh [--pid PID --size BYTES | --workload NAME --kind KIND] [--seconds S]

Counts what the loops of a vmsgrd do and divides it by the messages that came meanwhile: CPU time,
instructions and cycles where the machine counts them, context switches, what the daemon counts itself
(SIGUSR1), system calls by name and epoll_ctl by operation. Nothing is traced while the rest is counted,
so that it is not slowed down.

$common_help
  --size BYTES     bytes of a message, with --pid [default: 64]

System calls are counted with tracepoints; where this user may not use them, with strace, which makes
the daemon several times slower: then there are more messages in each turn than there would be, and the
output says so. With --pid the daemon's own counters are read from its stderr, which has to be a file.

$common_environment

Examples:
  perf/stat.sh --workload fan
  perf/stat.sh --workload pipeline --seconds 10
  perf/stat.sh --workload churn --kind relay
  perf/stat.sh --pid \$(pidof vmsgrd) --size 4096
EOF
}

size=64
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --size) size=$(number "$@") ;;
    *) common_option "$@" || fail "no option '$1'; --help lists them" ;;
    esac
    shift 2
done
need_perf
start_or_attach $((seconds * 3 + 20))
threads=$(loops all)
counters "$scratch/first" ||
    fail "the counters of process $pid cannot be read: its stderr has to go to a file (vmsgrd 2>vmsgrd.log)"

# switches: context switches of the loops so far, voluntary and not.
switches() {
    local thread
    for thread in ${threads//,/ }; do cat "/proc/$pid/task/$thread/status"; done |
        awk '/^voluntary/ { v += $2 } /^nonvoluntary/ { n += $2 } END { print v, n }'
}
# line VALUE NAME: per message.
line() { awk -v value="$1" -v count="$count" -v name="$2" 'BEGIN { printf "  %12.4f  %s\n", value / count, name }'; }

events=()
for event in instructions:u instructions:k cycles:u cycles:k; do
    if counts "$event"; then events+=("$event"); fi
done
watched_with_times() {
    schedstat "$1.cpu_before"
    watched "$@"
    schedstat "$1.cpu_after"
}
export -f watched_with_times
read -r voluntary_before involuntary_before < <(switches)
if [ ${#events[@]} -gt 0 ]; then
    under perf stat -x, -e "$(IFS=, && echo "${events[*]}")" --tid "$threads" -o "$scratch/stat" \
        -- watched_with_times "$scratch/plain" "$seconds"
else
    watched_with_times "$scratch/plain" "$seconds"
fi
read -r voluntary involuntary < <(switches)
read -r _ cpu_before _ <"$scratch/plain.cpu_before"
read -r _ cpu_after _ <"$scratch/plain.cpu_after"
count=$(messages "$scratch/plain.before" "$scratch/plain.after")
[ "$count" -gt 0 ] || fail "no messages came in $seconds s"

echo "$what, $seconds s: $count messages of $size bytes, $((count / seconds)) a second"
echo
echo "per message"
line $((cpu_after - cpu_before)) "ns of CPU time"
if [ ${#events[@]} -gt 0 ]; then
    while IFS=, read -r value _ name _; do
        if [[ $value =~ ^[0-9]+$ ]]; then line "$value" "$name"; fi
    done <"$scratch/stat"
fi
if [ ${#events[@]} -lt 4 ]; then
    echo "             -  instructions, cycles: $([ ${#events[@]} = 0 ] && echo none || echo "not all") of them can be" \
        "counted here (no hardware counters, or kernel.perf_event_paranoid is $(paranoid))"
fi
line $((voluntary - voluntary_before)) "context switches, voluntary"
line $((involuntary - involuntary_before)) "context switches, involuntary"
for name in turns wakeups wakeups_empty spins spin_hits messages_in messages_out would_block \
    doorbells_rung doorbells_saved writable_armed writable_disarmed read_paused budget_exhausted; do
    line "$(delta $name "$scratch/plain.before" "$scratch/plain.after")" $name
done

echo
if tracepoints; then
    names=(epoll_wait epoll_pwait epoll_ctl recvfrom sendto read write readv writev recvmsg sendmsg accept4
        close shutdown getsockopt setsockopt clock_gettime getrusage futex madvise mmap munmap brk)
    arguments=(-e raw_syscalls:sys_enter)
    place=$(tracefs || true)
    for name in "${names[@]}"; do
        if [ -d "$place/events/syscalls/sys_enter_$name" ]; then
            arguments+=(-e "syscalls:sys_enter_$name")
        fi
    done
    for op in 1 2 3; do arguments+=(-e syscalls:sys_enter_epoll_ctl --filter "op==$op"); done
    under perf stat -x, "${arguments[@]}" --tid "$threads" -o "$scratch/calls" \
        -- watched "$scratch/traced" "$seconds"
    count=$(messages "$scratch/traced.before" "$scratch/traced.after")
    echo "system calls per message ($count messages; by tracepoints)"
    awk -F, -v count="$count" '
        /^#/ || NF < 3 { next }
        $3 == "raw_syscalls:sys_enter" { all = $1; next }
        {
            name = $3
            sub(/^syscalls:sys_enter_/, "", name)
            if (name == "epoll_ctl" && ++controls > 1) {
                split("add del mod", op, " ")
                printf "  %12.4f  epoll_ctl, %s\n", $1 / count, op[controls - 1] > "/dev/stderr"
                next
            }
            named += $1
            if ($1 > 0) printf "  %12.4f  %s\n", $1 / count, name
        }
        END {
            if (all > named) printf "  %12.4f  others\n", (all - named) / count
            printf "  %12.4f  all\n", all / count
        }' "$scratch/calls" 2>"$scratch/controls" | sort -rn
    cat "$scratch/controls"
else
    need_strace
    trace_busy
fi
