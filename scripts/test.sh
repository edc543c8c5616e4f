#!/usr/bin/env bash
# Lint and test: makes .venv on the first run, finds or installs a Chromium for the page's test, then runs ruff and
# pytest: in two processes, then what opens a browser, alone. Arguments go to pytest instead: bash scripts/test.sh
# tests/test_volume.py -k spike
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh

find_chromium() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" >/dev/null && return 0
    done
    return 1
}

prepare_environment requirements.txt requirements-dev.txt
has_browser=true
if ! find_chromium; then
    echo "Installing Chromium for the test of the demo page" >&2
    if ! apt_install chromium fonts-dejavu-core nodejs || ! find_chromium; then
        [ "${CI:-}" != true ] || fail "CI needs Chromium for the test of the demo page, and it could not be installed"
        echo "No Chromium found: the demo page is NOT tested. Install it, on Debian: sudo apt-get install chromium" >&2
        has_browser=false
    fi
fi

export GRADIO_ANALYTICS_ENABLED=False OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
.venv/bin/python -m ruff check .
[ $# -eq 0 ] || exec .venv/bin/python -m pytest "$@"
status=0
.venv/bin/python -m pytest -m "not browser" --numprocesses 2 --dist loadfile || status=$?
! $has_browser || .venv/bin/python -m pytest -m browser tests/browser tests/live || status=$?
exit $status
