# Sourced by demo.sh, test.sh and gpu.sh: makes .venv with the pinned requirements, once.
#
#   prepare_environment requirements.txt ...
#
# A copy of each installed requirement file lies in .venv; while they are equal nothing is installed again.

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# Install Debian packages, where this is a Debian and we may.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    apt-get update -qq >/dev/null 2>&1 || true # an old list may still do
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 </dev/null
}

make_venv() {
    "$1" -m venv --clear .venv >/dev/null 2>&1
}

prepare_environment() {
    local python=${PYTHON:-python3} log=.venv/install.log stale= file
    local -a options=()
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
            fail "$python is missing or older than 3.10; name a newer one: PYTHON=python3.12 bash $0"
        make_venv "$python" || { apt_install python3-venv && make_venv "$python"; } ||
            fail "$python -m venv .venv failed; on Debian or Ubuntu: sudo apt-get install python3-venv"
    fi
    for file in "$@"; do
        options+=(-r "$file")
        cmp -s "$file" ".venv/installed-$file" || stale=yes
    done
    [ -n "$stale" ] || return 0
    echo "Installing $* into .venv (once, some minutes)" >&2
    .venv/bin/python -m pip install --disable-pip-version-check --no-input -q "${options[@]}" >"$log" 2>&1 || {
        sed -E 's#[a-z+]+://[^ ,]*#(address)#g' "$log" | tail -n 20 >&2
        fail "pip could not install $*; the whole story is in $log"
    }
    for file in "$@"; do cp "$file" ".venv/installed-$file"; done
}
