# Shared by the run scripts: packages, builds, counts. Source it from bash with `set -eu`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$root/build}

# Install what is missing of these Debian packages.
need_packages() {
    local missing=() p
    for p in "$@"; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    local sudo=""
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    echo "installing: ${missing[*]}" >&2
    [ -n "${APT_UPDATED:-}" ] || $sudo apt-get update -qq >&2
    export APT_UPDATED=1
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

need_build_packages() {
    need_packages ca-certificates gcc libc6-dev meson ninja-build pkg-config python3 libevent-dev protobuf-compiler \
        protobuf-c-compiler libprotobuf-c-dev libssl-dev check libzstd-dev liblz4-dev zlib1g-dev libsnappy-dev \
        libjansson-dev libsmartcols-dev uthash-dev librdkafka-dev
}

# A number that is another one for each commit: which share of the seeds and mutants is run on it. 0 without git.
commit_number() {
    local id
    id=$(git -C "$root" rev-parse --short=6 HEAD 2>/dev/null) || id=0
    echo $((16#${id:0:6} % 2000))
}

# build DIRECTORY [meson options]: configure once, then build.
build() {
    local dir=$1
    shift
    [ -f "$dir/build.ninja" ] || meson setup "$dir" "$root" "$@" >"$dir.log" 2>&1 || { cat "$dir.log" >&2; return 1; }
    ninja -C "$dir" >"$dir.log" 2>&1 || { tail -40 "$dir.log" >&2; return 1; }
}

# meson_suite DIRECTORY SUITE: run it and print "N passed, N failed, N skipped" from meson's own summary.
meson_suite() {
    local dir=$1 suite=$2 out passed failed skipped status=0
    out=$(meson test -C "$dir" --suite "$suite" --no-rebuild 2>&1) || status=$?
    passed=$(sed -n 's/^Ok: *\([0-9]*\).*/\1/p' <<<"$out")
    failed=$(awk '/^(Fail|Timeout|Unexpected Pass): /{n += $NF} END {print n + 0}' <<<"$out")
    skipped=$(sed -n 's/^Skipped: *\([0-9]*\).*/\1/p' <<<"$out")
    if [ "$status" -ne 0 ]; then
        grep -E 'FAIL|TIMEOUT|ERROR' <<<"$out" >&2 || tail -20 <<<"$out" >&2
        [ "${failed:-0}" -gt 0 ] || failed=1
    fi
    echo "${passed:-0} passed, ${failed:-0} failed, ${skipped:-0} skipped"
}
