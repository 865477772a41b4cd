# Sourced by the other scripts: a virtual environment of the project's own, made once and again when setup.cfg changes.
#   environment NAME EXTRAS    leaves $python, with tbperf[EXTRAS] installed from this checkout

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
everything=test,record,tensorboard,torch-tb,arrow

find_python() {
    local candidate
    for candidate in ${TBPERF_PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "tbperf: no Python: 3.10 or newer with its venv module is needed" >&2
    echo "hint: install python3 and python3-venv, or name one with TBPERF_PYTHON=/path/to/python3" >&2
    return 1
}

environment() {
    local name=$1 extras=$2 base stamp
    base=$(find_python)
    local folder="$root/.venv-$name"
    stamp=$({ "$base" -VV; echo "$root $extras"; cat "$root/setup.cfg" "$root/pyproject.toml"; } | cksum)
    python="$folder/bin/python"
    if [ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ]; then
        echo "tbperf: installing tbperf[$extras] into ${folder#"$root"/} (PyTorch is several GB; minutes the first time)" >&2
        "$base" -m venv --clear "$folder"
        "$python" -m pip install --quiet --disable-pip-version-check --editable "$root[$extras]"
        echo "$stamp" >"$folder/stamp"
    fi
}

# Install Debian's Chromium for the tests that look at pages; without it they are skipped and say so.
browser() {
    if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return; fi
    echo "tbperf: installing chromium for the tests of pages" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        chromium chromium-driver; } >/dev/null 2>&1 || echo "tbperf: no chromium: tests of pages are skipped" >&2
}
