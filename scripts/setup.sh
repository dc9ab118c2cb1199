#!/bin/sh
# Any Python 3 will do to begin with; scripts/setup.py decides which one the work is done on. PYTHON names one.
cd "$(dirname "$0")/.." || exit 1
for python in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
        exec "$python" -m scripts.setup "$@"
    fi
done
echo "ninefold: install Python 3.11 (Debian, Ubuntu: apt install python3.11 python3.11-venv; Mac: brew install" \
    "python@3.11), or name one by PYTHON=/its/path, then type the same command again: no ${PYTHON:-Python 3} runs here." >&2
exit 1
