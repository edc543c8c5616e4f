#!/usr/bin/env bash
# Open the demo: makes .venv on the first run, then runs `stylesdf demo` with the arguments given here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh

prepare_environment requirements.txt
exec .venv/bin/python -m stylesdf demo "$@"
