#!/usr/bin/env bash
# All figures and pictures of docs/PERFORMANCE.md, in one run.
set -euo pipefail
# shellcheck source=perf/common.sh
source "$(dirname "$0")/common.sh"

readonly parts=(echo relay app msgr2 spin frames hand-over tap)

usage() {
    cat <<EOF
Usage: perf/figures.sh [--quick] [--only PART,...] [--out DIR] [--keep DIR] [--dry-run]

Builds the release and measures what docs/PERFORMANCE.md shows, one part after the other. It needs cores 0 and 1, and
nobody else on them, and says beforehand how long it will take: less than 45 minutes. No sample is taken twice, so that
this holds on a busy machine, too; disturbed ones are left out of the medians where two or more are not.

  echo       echo servers, all workloads
  relay      relays, all workloads
  app        an application without sockets, on the core of its daemon or proxy and apart, all workloads
  msgr2      OSDs that store nothing, all writes
  spin       what spinning costs and brings
  frames     msgr2 frames beside crc32c and AES-128-GCM alone
  hand-over  what the kernel takes for two processes that share a core
  tap        what a tap costs a relay

Of each part PART it writes to --out
  PART.md                what was printed: machine, commit, commands, tables, verdicts
  PART-*.svg, spin.svg   its pictures
  PART.json.gz           every sample (in five digits, without system calls); those of a suite, all but spin's,
                         are for vmsgr-bench compare

  --quick      go through everything in less than three minutes: a test of this script, no figures
  --only PART  these parts alone, separated by commas [default: all]
  --out DIR    where the files go [default: docs/pictures; with --quick, pictures in --keep]
  --keep DIR   where everything goes first, also results.json in full and the page index.html of each part
               [default: target/figures; with --quick target/figures-quick]
  --dry-run    say what would be run and how long it would take, and no more

Environment:
  VMSGR_BENCH  another vmsgr-bench than target/release's, which is built first
  VMSGRD       another vmsgrd than the one beside that

Examples:
  perf/figures.sh --quick
  perf/figures.sh
  perf/figures.sh --only relay,spin
  target/release/vmsgr-bench compare <(zcat docs/pictures/relay.json.gz) target/figures/relay/results.json
EOF
}

quick='' only=("${parts[@]}") out='' keep='' dry=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --quick) quick=yes ;;
    --dry-run) dry=yes ;;
    --only)
        names=$(value "$@") || exit 2
        IFS=, read -r -a only <<<"$names"
        for part in "${only[@]}"; do
            [[ " ${parts[*]} " == *" $part "* ]] || fail "no part '$part'; there are: ${parts[*]}"
        done
        shift
        ;;
    --out)
        out=$(value "$@") || exit 2
        shift
        ;;
    --keep)
        keep=$(value "$@") || exit 2
        shift
        ;;
    *) fail "no option '$1'; --help lists them" ;;
    esac
    shift
done
target=${CARGO_TARGET_DIR:-$root/target}
keep=${keep:-$target/figures${quick:+-quick}}
if [ -z "$out" ]; then
    out=$root/docs/pictures
    if [ -n "$quick" ]; then out=$keep/pictures; fi
fi

# Of each part: who is measured, under what, how often, and for how many seconds.
readonly loads=ping,fan,pipeline,op4k,bulk,crowd,idle,slow,churn,steady
readonly writes=write64,write64-deep,write4k,write4k-deep,write64k,write64k-deep,write1m,write1m-deep
declare -A peers=(
    [echo]=vmsgrd,epoll,epoll-spin,tokio,monoio-epoll,monoio-uring,monoio-uring-defer,sleep-poll
    [relay]=vmsgrd-relay,haproxy,epoll-relay,splice-relay
    [app]=app-shm,app-haproxy,app-epoll
    [msgr2]=vmsgrd-osd,osd-null
)
declare -A workloads=([echo]=$loads [relay]=$loads [app]=$loads [msgr2]=$writes)
declare -A rounds=([echo]=9 [relay]=9 [app]=7 [msgr2]=7 [spin]=5 [frames]=9 [hand-over]=9 [tap]=7)
declare -A seconds=([echo]=0.4 [relay]=0.4 [app]=0.4 [msgr2]=0.4 [spin]=0.5 [tap]=1)
idle_seconds=10
if [ -n "$quick" ]; then
    for part in "${parts[@]}"; do rounds[$part]=1; done
    for part in echo relay app msgr2 spin; do seconds[$part]=0.05; done
    idle_seconds=0.3
fi

# plan PART: sets words to the command that measures it, but for where it writes.
plan() {
    local of=("--rounds" "${rounds[$1]}")
    if [ -n "${seconds[$1]:-}" ]; then of+=(--seconds "${seconds[$1]}"); fi
    case $1 in
    echo | relay | app | msgr2)
        words=(vmsgr-bench suite --kind "$1" --peers "${peers[$1]}" --only "${workloads[$1]}" "${of[@]}"
            --idle-seconds "$idle_seconds" --attempts 1)
        ;;
    spin) words=(vmsgr-bench spin "${of[@]}" --attempts 1) ;;
    frames | hand-over) words=(vmsgr-bench "$1" "${of[@]}") ;;
    tap) words=(perf/tap.sh "${of[@]}") ;;
    esac
}

# estimate PART: in seconds. What is not measuring was seen to take so long.
estimate() {
    local rounds=${rounds[$1]} seconds=${seconds[$1]:-0} names kinds=1
    case $1 in
    # Each sample is a server that starts, a warm-up, what is measured, and for 0.3 s at most system calls that are
    # counted; slow has a second load before it, without those who do not read.
    echo | relay | app | msgr2)
        if [ "$1" = app ]; then kinds=2; fi
        IFS=, read -r -a names <<<"${peers[$1]}"
        awk -v samples="$((${#names[@]} * kinds))" -v workloads="${workloads[$1]}" -v rounds="$rounds" \
            -v measured="$seconds" -v idle="$idle_seconds" 'BEGIN {
                start = 0.15; warm_up = 0.3; counted = measured < 0.3 ? measured : 0.3
                n = split(workloads, names, ",")
                for (i = 1; i <= n; i++) {
                    one = start + warm_up + measured + counted
                    if (names[i] == "slow") one += warm_up + measured
                    sum += names[i] == "idle" ? start + warm_up + idle + 0.6 : one * rounds
                }
                printf "%d\n", samples * sum + 1
            }'
        ;;
    # Five servers at fourteen rates; the lowest two are measured for longer.
    spin)
        awk -v rounds="$rounds" -v measured="$seconds" 'BEGIN {
            start = 0.15; warm_up = measured < 0.3 ? measured : 0.3
            lowest = 3 + 1 + 2 * (0.3 + start)
            printf "%d\n", 5 * rounds * (lowest + 12 * (start + warm_up + measured)) + 1
        }'
        ;;
    # Sixteen subjects of two sizes, 60 ms each.
    frames) echo $((rounds * 2 + 1)) ;;
    hand-over) echo $((rounds + 1)) ;;
    tap) echo $((rounds * 2 * (seconds + 1) + 1)) ;;
    esac
}

# minutes SECONDS: for people.
minutes() { printf '%d:%02d min\n' $(($1 / 60)) $(($1 % 60)); }

left=0
for part in "${only[@]}"; do left=$((left + $(estimate "$part"))); done
say "$(minutes $left) in all, and the build:"
for part in "${only[@]}"; do
    plan "$part"
    printf '%10s  %-9s  %s\n' "$(minutes "$(estimate "$part")")" "$part" "${words[*]}" >&2
done
if [ -n "$dry" ]; then exit 0; fi

need jq "apt-get install jq"
[ "$(nproc)" -ge 2 ] || fail "there is one core; the servers and the load generator need one each"
if [[ " ${only[*]} " =~ \ (relay|app)\  ]] && ! PATH=$PATH:/usr/sbin command -v haproxy >/dev/null; then
    say "haproxy is not installed, and the tables will say so: apt-get install haproxy"
fi
if [[ " ${only[*]} " =~ \ (echo|relay|app|msgr2)\  ]] &&
    ! tracefs >/dev/null; then
    say "system calls will be counted by strace, which slows the servers. To have the kernel count them:" \
        "$(way_to_tracepoints)"
fi
if [ -z "${VMSGR_BENCH:-}" ]; then
    need cargo "https://rustup.rs, or set VMSGR_BENCH to a program that is built"
    say "building"
    cargo build --quiet --locked --release --manifest-path "$root/Cargo.toml" -p vmsgrd -p vmsgr-perf ||
        fail "the build failed"
fi
# The daemon that lies beside the program need not be named, and the figures then name no folder of this machine.
place=()
if [ -n "${VMSGRD:-}" ]; then place=(--vmsgrd "$(realpath -m "$VMSGRD")"); fi
VMSGR_BENCH=$(realpath -m "${VMSGR_BENCH:-$target/release/vmsgr-bench}")
VMSGRD=$(realpath -m "${VMSGRD:-${VMSGR_BENCH%/*}/vmsgrd}")
export VMSGRD VMSGR_BENCH
for binary in "$VMSGRD" "$VMSGR_BENCH"; do
    [ -x "$binary" ] || fail "$binary is no program"
done
commit=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
if [ -n "$(git -C "$root" status --porcelain 2>/dev/null)" ]; then
    commit+=+
    say "there are changes on top of $commit: the figures will say so"
fi
mkdir -p "$out" "$keep"
out=$(realpath -m "$out") keep=$(realpath -m "$keep")

# told BEGUN: passes on what a part prints, and says of each workload that it is done and how long all the rest takes.
told() {
    local line rest
    while IFS= read -r line; do
        printf '%s\n' "$line"
        if [[ $line == '## '* && $line != '## Verdicts' ]]; then
            rest=$((left + $(estimate "$part") - (SECONDS - $1)))
            say "${line#\#\# } is done; $(minutes $((rest > 0 ? rest : 0))) left"
        fi
    done
}

# shortened: a file of samples on one line, in five digits, without what is not compared.
shortened() {
    jq -c 'def five: if . == floor then . else
                (. | fabs | log10 | floor) as $power | pow(10; 4 - $power) as $unit | (. * $unit | round) / $unit
            end;
        walk(if type == "object" and has("probed") then .probed = null elif type == "number" then five else . end)'
}

failed=()
for part in "${only[@]}"; do
    plan "$part"
    say "$part: $(minutes "$(estimate "$part")") of the $(minutes $left) that are left"
    folder=$keep/$part
    mkdir -p "$folder"
    rm -f "$folder"/{printed.md,results.md,results.json,index.html} "$folder"/*.svg
    case $part in
    tap) words[0]=$root/perf/tap.sh ;;
    frames | hand-over) words[0]=$VMSGR_BENCH ;;
    *) words=("$VMSGR_BENCH" "${words[@]:1}" "${place[@]}" --out "$part") ;;
    esac
    left=$((left - $(estimate "$part")))
    # The others are worth having all the same.
    if ! (cd "$keep" && "${words[@]}") | told $SECONDS >"$folder/printed.md"; then
        say "$part failed: ${words[*]}"
        failed+=("$part")
        continue
    fi
    case $part in
    frames | hand-over | tap)
        # These do not say where they come from.
        plan "$part"
        {
            printf -- '- %s, commit %s\n- `%s`\n\n' "$(date -u +%FT%TZ)" "$commit" "${words[*]}"
            cat "$folder/printed.md"
        } >"$out/$part.md"
        ;;
    *)
        cp "$folder/printed.md" "$out/$part.md"
        cp "$folder"/*.svg "$out/"
        samples=("$folder"/*.json)
        shortened <"${samples[0]}" | gzip -9n >"$out/$part.json.gz"
        ;;
    esac
done
if [ ${#failed[@]} -gt 0 ]; then fail "of these parts nothing was written: ${failed[*]}; --only takes them again"; fi
say "all in $out ($(cat "$out"/*.json.gz 2>/dev/null | wc -c) bytes of samples); pages and full results in $keep"
