#!/bin/sh
# The test suite on each Python version named that exists here, each in an environment of its own.
set -eu
cd "$(dirname "$0")/.."
failed=
ran=0
find_python() {
    for candidate in "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python /usr/bin/"python$1"; do
        if "$candidate" -c "import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}
for version in "$@"; do
    if ! python=$(find_python "$version"); then
        echo "Python $version: not here"
        continue
    fi
    env=".matrix/$version"
    [ -x "$env/bin/pytest" ] || {
        "$python" -m venv "$env"
        "$env/bin/pip" install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[ws,mqtt,discovery,test]'
    }
    echo "Python $version: $("$env/bin/python" -c 'import importlib.metadata as m; print("pymodbus", m.version("pymodbus"))')"
    ran=$((ran + 1))
    # What failed beside others on a busy machine is judged once more, alone.
    eval "\"$env/bin/python\" -m pytest tests ${MATRIX_ARGS:-}" ||
        "$env/bin/python" -m pytest tests --last-failed --last-failed-no-failures none ||
        failed="$failed $version"
done
[ "$ran" -gt 0 ] || { echo "no Python of the list is here"; exit 1; }
[ -z "$failed" ] || { echo "failed on:$failed"; exit 1; }
echo "the suite passes on $ran versions"
