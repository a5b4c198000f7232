#!/usr/bin/env bash
# What a tap costs a relay: operations of an OSD through vmsgrd, with tap=msgr2 and without, in turn.
set -euo pipefail
# shellcheck source=perf/common.sh
source "$(dirname "$0")/common.sh"

usage() {
    cat <<EOF
Usage: perf/tap.sh [--rounds N] [--seconds S] [--connections N] [--depth N] [--size BYTES]

Starts two relays on core 0, one of them with a tap, before one server that answers every operation, and puts
the same load of writes on each in turn. Load and server share core 1. Prints the operations per second and the
relay's CPU time for each, by round, and the medians of the ratios.

  --rounds N       [default: 7]
  --seconds S      of each sample, whole [default: 1]
  --connections N  clients [default: 16]
  --depth N        operations in flight of each client [default: 4]
  --size BYTES     of a write [default: 4096]

Environment: VMSGRD, VMSGR_BENCH: other binaries than the release's, which are built first

Examples:
  perf/tap.sh
  perf/tap.sh --connections 1 --depth 32 --size 65536
EOF
}

rounds=7 seconds=1 connections=16 depth=4 size=4096
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --rounds) rounds=$(number "$@") ;;
    --seconds) seconds=$(number "$@") ;;
    --connections) connections=$(number "$@") ;;
    --depth) depth=$(number "$@") ;;
    --size) size=$(number "$@") ;;
    *) fail "unknown option '$1'; --help tells what there is" ;;
    esac
    shift 2
done

need jq "apt-get install jq"
if [ -z "${VMSGRD:-}" ] || [ -z "${VMSGR_BENCH:-}" ]; then
    need cargo "https://rustup.rs, or set VMSGRD and VMSGR_BENCH to binaries"
    cargo build --quiet --locked --release --manifest-path "$root/Cargo.toml" -p vmsgrd -p vmsgr-perf ||
        fail "the build failed"
fi
target=${CARGO_TARGET_DIR:-$root/target}
vmsgrd=${VMSGRD:-$target/release/vmsgrd}
bench=${VMSGR_BENCH:-$target/release/vmsgr-bench}
for binary in "$vmsgrd" "$bench"; do
    [ -x "$binary" ] || fail "$binary is no program"
done

# listening FILE: the address that a server has said on its first line, once it has.
listening() {
    local end=$((SECONDS + 10)) address=''
    until address=$(grep -m1 -o '127\.0\.0\.1:[0-9]*' "$1" | head -n 1) && [ -n "$address" ]; do
        [ $SECONDS -lt $end ] || fail "a server does not say where it listens; it said: $(cat "$1")"
    done
    echo "$address"
}

: >"$scratch/osd"
"$bench" serve osd-null --listen 127.0.0.1:0 --core 1 >"$scratch/osd" &
started+=($!)
upstream=$(listening "$scratch/osd")

declare -A relay_pid relay_address
for kind in plain tapped; do
    tap=$([ $kind = tapped ] && echo ,tap=msgr2 || true)
    # It is read before the daemon may have begun.
    : >"$scratch/$kind"
    "$vmsgrd" --core-mask 0 --socket none -l "127.0.0.1:0=relay:$upstream$tap" >"$scratch/$kind" 2>"$scratch/$kind.log" &
    started+=($!)
    relay_pid[$kind]=$!
    relay_address[$kind]=$(listening "$scratch/$kind")
done

echo "$connections clients, $depth in flight of each, writes of $size B; $rounds rounds of $seconds s"
echo "round  ops/s plain  tapped  ratio   relay CPU us/op plain  tapped  ratio"
for ((round = 1; round <= rounds; round++)); do
    # Neither always comes after the other.
    turns=(plain tapped)
    if ((round % 2 == 0)); then turns=(tapped plain); fi
    for kind in "${turns[@]}"; do
        "$bench" osd "${relay_address[$kind]}" --connections "$connections" --depth "$depth" --size "$size" \
            --duration "$seconds" --core 1 --pid "${relay_pid[$kind]}" --json "$scratch/$kind.json" >/dev/null
    done
    jq -rs --argjson round "$round" '
        def rate: .messages / .seconds;
        def cpu: .server.cpu_s / .messages * 1e6;
        "\($round)\t\(.[0] | rate | round)\t\(.[1] | rate | round)\t\((.[1] | rate) / (.[0] | rate))\t" +
        "\(.[0] | cpu)\t\(.[1] | cpu)\t\((.[1] | cpu) / (.[0] | cpu))"' \
        "$scratch/plain.json" "$scratch/tapped.json" | tee -a "$scratch/rounds" |
        awk '{ printf "%5d  %11d  %6d  %5.3f   %21.2f  %6.2f  %5.3f\n", $1, $2, $3, $4, $5, $6, $7 }'
done
# median COLUMN
median() { sort -g -k "$1,$1" "$scratch/rounds" | awk -v c="$1" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'; }
printf 'with a tap: %.3f of the operations per second, %.3f of the CPU time for each (medians by round)\n' \
    "$(median 4)" "$(median 7)"
