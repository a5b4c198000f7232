# What the scripts here have in common; sourced, not run.
# shellcheck shell=bash
# What is set here is used there.
# shellcheck disable=SC2034

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
readonly self=${0##*/}

# Children that we started, to be ended when we end, the last one first.
started=()
scratch=$(mktemp -d)
readonly scratch

finish() {
    local i
    for ((i = ${#started[@]} - 1; i >= 0; i--)); do
        kill "${started[i]}" 2>/dev/null || true
        wait "${started[i]}" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { echo "$self: $*" >&2; }

# fail WHAT: something is missing or wrong.
fail() {
    say "$*"
    exit 2
}

# need COMMAND HOW-TO-GET-IT
need() { command -v "$1" >/dev/null || fail "$1 is not installed: $2"; }
need_perf() { need perf "apt-get install linux-perf"; }
need_strace() { need strace "apt-get install strace"; }
need_inferno() {
    PATH=$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin
    need inferno-flamegraph "cargo install inferno"
    need inferno-collapse-perf "cargo install inferno"
}

# value OPTION VALUE: the value, which must be there.
value() {
    [ -n "${2:-}" ] || fail "$1 takes a value; --help tells which"
    echo "$2"
}

# number OPTION VALUE: a whole number of at least 1.
number() {
    [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || fail "$1 takes a whole number of at least 1, not '${2:-}'"
    echo "$2"
}

# What all of them understand about where the daemon comes from.
readonly common_help="\
  --pid PID        a running vmsgrd; the load is whatever it has
  --workload NAME  start a vmsgrd on --core and put this load on it: ping, fan, pipeline, op4k, bulk,
                   crowd, churn or slow [default: fan]
  --kind KIND      what that vmsgrd does: echo, or relay to a plain epoll echo on the next core
                   [default: echo]
  --core N         core of the vmsgrd that is started; the load generator runs on the next one
                   [default: 0]
  --seconds S      how long to look [default: 5]"
readonly common_environment="\
Environment:
  VMSGRD, VMSGR_BENCH  binaries to use instead of building them with frame pointers and line tables:
                       RUSTFLAGS='-C force-frame-pointers=yes' cargo build --profile profiling"

pid='' workload=fan kind=echo seconds=5 core=0 passes=1
# common_option OPTION VALUE: takes one of the options above, which all have a value; false if it is
# another.
common_option() {
    case $1 in
    --pid) pid=$(number "$@") || exit 2 ;;
    --workload) workload=$(value "$@") || exit 2 ;;
    --kind)
        kind=$(value "$@") || exit 2
        [[ $kind =~ ^(echo|relay)$ ]] || fail "--kind takes echo or relay, not '$kind'"
        ;;
    --core)
        [[ ${2:-} =~ ^[0-9]+$ ]] || fail "--core takes the number of a core, not '${2:-}'"
        core=$2
        ;;
    --seconds) seconds=$(number "$@") || exit 2 ;;
    *) return 1 ;;
    esac
}

# shape WORKLOAD: sets connections, depth and size; in how, what else the load generator is told; and passes,
# how often a message comes into the daemon.
shape() {
    how=()
    passes=1
    if [ "$kind" = relay ]; then passes=2; fi
    case $1 in
    ping) connections=1 depth=1 size=64 ;;
    fan) connections=64 depth=1 size=64 ;;
    pipeline) connections=64 depth=16 size=64 ;;
    op4k) connections=16 depth=4 size=4096 ;;
    bulk) connections=8 depth=2 size=131072 ;;
    crowd) connections=1000 depth=1 size=64 ;;
    churn) connections=16 depth=1 size=64 how=(--churn) ;;
    slow) connections=64 depth=1 size=64 how=(--slow 8) ;;
    *) fail "no workload '$1'; --help lists them" ;;
    esac
}

# Sets vmsgrd and bench to binaries that have frame pointers and line tables.
build() {
    local target=${CARGO_TARGET_DIR:-$root/target}
    vmsgrd=${VMSGRD:-} bench=${VMSGR_BENCH:-}
    if [ -z "$vmsgrd" ] || [ -z "$bench" ]; then
        need cargo "https://rustup.rs, or set VMSGRD and VMSGR_BENCH to binaries"
        (cd "$root" && RUSTFLAGS="${RUSTFLAGS:-} -C force-frame-pointers=yes" \
            cargo build --quiet --locked --profile profiling -p vmsgrd -p vmsgr-perf) ||
            fail "the build failed"
    fi
    vmsgrd=${vmsgrd:-$target/profiling/vmsgrd} bench=${bench:-$target/profiling/vmsgr-bench}
    for binary in "$vmsgrd" "$bench"; do
        [ -x "$binary" ] || fail "$binary is no program"
    done
}

# Builds and starts a vmsgrd that echoes or relays; sets pid, address and complaints (its stderr).
start_daemon() {
    local service=$kind
    build
    if [ "$kind" = relay ]; then
        start_server upstream "$bench" serve epoll --listen 127.0.0.1:0 --core "$(next_core)"
        service=relay:$address
    fi
    start_server vmsgrd "$vmsgrd" --core-mask "$core-$core" --listen "127.0.0.1:0=$service"
    pid=$server complaints=$scratch/vmsgrd.err
}

# start_server NAME COMMAND...: starts one that says where it listens and that it is ready; sets server, its
# process, and address. What it says goes to NAME.out and NAME.err.
start_server() {
    local i name=$1
    shift
    : >"$scratch/$name.out"
    "$@" >"$scratch/$name.out" 2>"$scratch/$name.err" &
    server=$!
    started+=("$server")
    for ((i = 0; i < 100; i++)); do
        if grep -q '^ready' "$scratch/$name.out"; then break; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    grep -q '^ready' "$scratch/$name.out" || fail "$name did not start: $(tail -n 1 "$scratch/$name.err")"
    address=$(awk '$1 == "listening" { print $2; exit }' "$scratch/$name.out")
}

# start_load SECONDS: puts the workload on the daemon; sets load, and size by the way.
start_load() {
    shape "$workload"
    if [ ${#how[@]} = 0 ]; then how=(--depth "$depth"); fi
    "$bench" load "$address" --connections "$connections" "${how[@]}" --size "$size" \
        --duration "$1" --core "$(next_core)" >"$scratch/load.out" 2>"$scratch/load.err" &
    load=$!
    started+=("$load")
    # Its warm-up.
    sleep 1
    kill -0 "$load" 2>/dev/null || fail "the load generator ended: $(tail -n 1 "$scratch/load.err")"
}

stop_load() {
    kill "$load" 2>/dev/null || true
    wait "$load" 2>/dev/null || true
}

next_core() {
    local next=$((core + 1))
    if [ -d "/sys/devices/system/cpu/cpu$next" ]; then echo "$next"; else echo 0; fi
}

# Either what --pid names, which must run, or a daemon of our own under load for a bit longer than we
# look. start_or_attach HOW-LONG
start_or_attach() {
    if [ -n "$pid" ]; then
        [ -d "/proc/$pid" ] || fail "no process $pid"
        [ -n "$(loops all)" ] || fail "process $pid has no thread named vmsgr/CORE: is it a vmsgrd?"
        what="process $pid"
        complaints=$(readlink "/proc/$pid/fd/2" 2>/dev/null || true)
        if [ ! -f "$complaints" ] || [ ! -r "$complaints" ]; then complaints=''; fi
    else
        shape "$workload"
        start_daemon
        start_load "$1"
        what="$kind under $workload ($connections connections, $depth in flight, $size bytes)"
    fi
}

# loops CORE|all: the threads of the daemon that run a loop, separated by commas.
loops() {
    local task name found=()
    for task in "/proc/$pid/task/"*; do
        name=$(cat "$task/comm" 2>/dev/null || true)
        case $name in
        "vmsgr/$1") found+=("${task##*/}") ;;
        vmsgr/*) if [ "$1" = all ]; then found+=("${task##*/}"); fi ;;
        esac
    done
    (
        IFS=,
        echo "${found[*]}"
    )
}

# A whole report: the line may be there in part.
readonly report='^{.cores.*}}$'

# counters FILE: has the daemon write its counters, and their sum as "name value" lines to FILE; false
# if they cannot be read.
counters() {
    local before after i
    [ -n "$complaints" ] || return 1
    before=$(grep -c "$report" "$complaints" || true)
    kill -USR1 "$pid" 2>/dev/null || return 1
    for ((i = 0; i < 50; i++)); do
        after=$(grep -c "$report" "$complaints" || true)
        if [ "$after" -gt "$before" ]; then
            grep "$report" "$complaints" | tail -n 1 | sed 's/.*"total"://' |
                grep -o '"[a-z_]*":[0-9]*' | tr -d '"' | tr ':' ' ' >"$1"
            return
        fi
        sleep 0.05
    done
    return 1
}

# watched FILE SECONDS: the counters before and after so many seconds, to FILE.before and FILE.after. To
# be run by perf itself, since perf takes its time to begin and to end.
watched() {
    counters "$1.before"
    sleep "$2"
    counters "$1.after"
}

# under COMMAND... -- FUNCTION...: runs a function of this file as the command of perf.
under() {
    local perf=()
    while [ "$1" != -- ]; do
        perf+=("$1")
        shift
    done
    shift
    export -f counters watched schedstat
    export pid complaints report threads
    "${perf[@]}" -- bash -c '"$@"' bash "$@"
}

# schedstat FILE: what the kernel counts for $threads, to FILE: the time, and nanoseconds run, nanoseconds
# ready without a core, times on a core.
schedstat() {
    local thread
    for thread in ${threads//,/ }; do cat "/proc/$pid/task/$thread/schedstat"; done |
        awk -v now="$(date +%s%N)" '{ run += $1; wait += $2; times += $3 }
            END { printf "%s %.0f %.0f %.0f\n", now, run, wait, times }' >"$1"
}

# delta NAME BEFORE AFTER: how far a counter has risen.
delta() {
    awk -v name="$1" '$1 == name { if (FNR == NR) before = $2; else after = $2 } END { print after - before + 0 }' \
        "$2" "$3"
}

# messages BEFORE AFTER: messages of $size bytes that came in between. Into a relay each comes twice, there
# and back. (With the workload slow also what those have sent who do not read, until nobody took it.)
messages() {
    awk -v bytes="$(delta bytes_in "$1" "$2")" -v size="$((size * passes))" 'BEGIN { printf "%d\n", bytes / size }'
}

paranoid() { cat /proc/sys/kernel/perf_event_paranoid 2>/dev/null || echo unknown; }

# counts EVENT: perf may count it for this process, and the machine does count it. Sets counted to what
# perf makes of it: it leaves the kernel out by itself where that is not allowed.
counts() {
    local line
    line=$(perf stat -x, -e "$1" -p "$pid" -- sleep 0.05 2>&1) || return 1
    if grep -q -e '<not' -e rror -e invalid <<<"$line"; then return 1; fi
    counted=$(cut -d, -f3 <<<"$line")
}

# Sets event to the best clock there is, and says so if it is not cycles.
choose_event() {
    for event in cycles cycles:u cpu-clock cpu-clock:u; do
        if counts "$event"; then break; fi
        if [ "$event" = cpu-clock:u ]; then
            fail "perf may not look at process $pid: kernel.perf_event_paranoid is $(paranoid)." \
                "As root: sysctl kernel.perf_event_paranoid=1 (2 shows user space alone), or run this as root"
        fi
    done
    event=$counted
    case $event in
    cpu-clock*) say "no hardware counters here (a virtual machine?): samples are taken by the timer, $event" ;;
    esac
    case $event in
    *:u) say "user space alone: kernel.perf_event_paranoid is $(paranoid); for the kernel's part," \
        "sysctl kernel.perf_event_paranoid=1 or run this as root" ;;
    *)
        if [ "$(cat /proc/sys/kernel/kptr_restrict 2>/dev/null)" != 0 ] && [ "$(id -u)" != 0 ]; then
            say "the kernel's functions will have no names: kernel.kptr_restrict is not 0"
        fi
        ;;
    esac
}

# Tracepoints may be used; says why not.
tracepoints() {
    if counts sched:sched_switch; then return 0; fi
    say "no tracepoints for this user (kernel.perf_event_paranoid is $(paranoid)). $(way_to_tracepoints)"
    return 1
}

# tracefs: where this user can read which tracepoints there are, now or of old; false if nowhere.
tracefs() {
    local place
    for place in /sys/kernel/tracing /sys/kernel/debug/tracing; do
        if [ -r "$place/events/raw_syscalls" ]; then
            echo "$place"
            return
        fi
    done
    return 1
}

# way_to_tracepoints: what this user can do about it that there are none. Of what is mounted and cannot be read
# the mounts tell all the same.
way_to_tracepoints() {
    if grep -q '^[^ ]* [^ ]* tracefs ' /proc/mounts; then
        echo "They need root; or CAP_PERFMON, or kernel.perf_event_paranoid=-1, and that tracefs can be read"
    else
        echo "As root: mount -t tracefs tracefs /sys/kernel/tracing"
    fi
}

# attach FILE: traces the daemon to FILE from here on; sets tracer.
attach() {
    local i
    : >"$1" >"$scratch/strace.err"
    LC_ALL=C strace -f -p "$pid" -o "$1" 2>"$scratch/strace.err" &
    tracer=$!
    started+=("$tracer")
    for ((i = 0; i < 100; i++)); do
        if grep -q attached "$scratch/strace.err"; then return; fi
        kill -0 "$tracer" 2>/dev/null || break
        sleep 0.1
    done
    fail "strace may not look at process $pid: $(tail -n 1 "$scratch/strace.err")" \
        "(kernel.yama.ptrace_scope is $(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null || echo unknown))"
}

detach() {
    kill "$tracer" 2>/dev/null || true
    wait "$tracer" 2>/dev/null || true
}

# trace_busy: traces the daemon under its load for $seconds and prints the calls per message.
trace_busy() {
    local begin end
    attach "$scratch/busy"
    counters "$scratch/before" || fail "the daemon does not tell its counters"
    begin=$(wc -c <"$scratch/busy")
    sleep "$seconds"
    counters "$scratch/after" || fail "the daemon does not tell its counters"
    end=$(wc -c <"$scratch/busy")
    detach
    count=$(messages "$scratch/before" "$scratch/after")
    [ "$count" -gt 0 ] || fail "no messages came in $seconds s"
    head -c "$end" "$scratch/busy" | tail -c +$((begin + 1)) >"$scratch/calls"
    echo "system calls per message ($count messages in $seconds s; by strace, which slows the daemon down)"
    calls_by_name "$scratch/calls" "$count"
}

# calls_by_name TRACE MESSAGES: a table of what strace has seen of the loops, epoll_ctl by operation as well.
calls_by_name() {
    awk -v count="$2" -v threads="$(loops all)" '
        BEGIN { n = split(threads, list, ","); for (i = 1; i <= n; i++) ours[list[i]] = 1 }
        !($1 in ours) { next }
        # "PID name(arguments..." or "PID <... name resumed>": the second half of what was counted.
        match($2, /^[a-z0-9_]+\(/) {
            name = substr($2, 1, RLENGTH - 1)
            calls[name]++
            all++
            if (name == "epoll_ctl" && match($0, /EPOLL_CTL_[A-Z]+/))
                calls["epoll_ctl, " tolower(substr($0, RSTART + 10, RLENGTH - 10))]++
        }
        END {
            for (name in calls) printf "  %12.4f  %s\n", calls[name] / count, name
            printf "  %12.4f  all\n", all / count
        }' "$1" | sort -rn
}
