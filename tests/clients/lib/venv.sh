# need_venv DIRECTORY REQUIREMENTS: a Python environment of its own with these packages, made or renewed only when they changed.
need_venv() {
    local dir=$1 requirements=$2
    cmp -s "$requirements" "$dir/requirements.txt" && return 0
    need_packages python3 python3-venv ca-certificates
    rm -rf "$dir"
    mkdir -p "$(dirname "$dir")"
    python3 -m venv "$dir" >&2
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" >&2
    cp "$requirements" "$dir/requirements.txt"
}
