# shellcheck shell=bash
# Makes .venv equal to requirements.lock, and only when it is not. Sourced by `run` and `test`; `setup ROOT` does the work.
#
# The stamp is written last: an install that was interrupted leaves none, and is done again.

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit 1
}

# Prints the Python to make the environment with. The lock was resolved for 3.11, which therefore comes first.
find_python() {
    local candidate
    for candidate in python3.11 python3 python3.12 python3.13; do
        # Running it is the only proof: version managers leave shims on the path that lead nowhere.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "Python 3.11 or later is needed and was not found. On Debian 12: apt-get install python3 python3-venv"
}

# Prints what the environment depends on. The path belongs to it, because the scripts in .venv name it.
wanted_stamp() {
    { pwd; cat requirements.lock setup.cfg pyproject.toml; } | sha256sum | cut -d ' ' -f 1
}

make_environment() {
    local python wanted
    wanted=$(wanted_stamp) || fail "could not read requirements.lock"
    if [ -x .venv/bin/python ] && [ "$(cat .venv/stamp 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    echo "Installing what requirements.lock names into .venv ..." >&2
    rm -f .venv/stamp
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        python=$(find_python) || exit 1
        # Debian splits ensurepip off, and venv then fails halfway with a page of text.
        "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 \
            || fail "$python cannot make virtual environments. On Debian: apt-get install python3-venv"
        "$python" -m venv --clear .venv || fail "could not make .venv with $python"
    fi
    local pip=(.venv/bin/python -m pip --quiet --disable-pip-version-check --no-input install)
    "${pip[@]}" --require-hashes -r requirements.lock \
        || fail "could not install requirements.lock; see above (no network, or no wheel for this platform?)"
    "${pip[@]}" --no-deps --no-build-isolation -e . || fail "could not install exitkeeper itself; see above"
    printf '%s\n' "$wanted" >.venv/stamp
}

# setup ROOT: one at a time. The second of two that start together waits, finds the stamp, and goes on. The lock is held
# by this subshell alone: handed on to the service, it would last as long as the service does. (`set -e` does not reach in
# here, because of the `||`: every command that may fail says what then.)
setup() {
    (
        cd "$1" || exit 1
        if command -v flock >/dev/null && ! flock --nonblock 9; then
            echo "Waiting for another installation into .venv ..." >&2
            flock 9 || fail "could not lock requirements.lock"
        fi
        make_environment
    ) 9<"$1/requirements.lock" || exit 1
}
