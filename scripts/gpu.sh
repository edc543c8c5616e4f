#!/usr/bin/env bash
# Measure training and inference on a CUDA GPU, or train people's large size on it, and print tables; see --help.
# Where the machine's own Python (PYTHON, else python3) has all that is needed it is taken, else .venv is made.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh

python=${PYTHON:-python3}
if ! "$python" -c 'import benchmarks.cuda' 2>/dev/null; then
    prepare_environment requirements.txt requirements-dev.txt
    python=.venv/bin/python
fi
exec "$python" -m benchmarks.cuda "$@"
