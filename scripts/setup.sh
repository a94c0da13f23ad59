# Sourced by demo, test and bench: makes .venv at the project's root from uv.lock and sees to system packages.
# usage: setup PURPOSE EXTRA_UV_ARGS...   with PURPOSE demo, test or bench
# Quiet unless something has to be done; then it says what, on standard error.

UV_VERSION=0.13.9

# "command:package" pairs; a command that is there needs no package.
DEMO_NEEDS=(ffmpeg:ffmpeg mosquitto:mosquitto bwrap:bubblewrap setpriv:util-linux)
TEST_NEEDS=(mosquitto_pub:mosquitto-clients fusermount3:fuse3 signify-openbsd:signify-openbsd openssl:openssl go:golang-go node:nodejs npm:npm chromium:chromium umockdev-wrapper:umockdev)
BENCH_NEEDS=(rsync:rsync nginx:nginx-core stunnel:stunnel4 rclone:rclone curl:curl openssl:openssl)

say() { printf '%s\n' "$*" >&2; }

usable_python() {
  local candidate
  for candidate in /usr/bin/python3 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

missing_packages() {
  local pair
  for pair in "$@"; do
    # daemons are in /usr/sbin, which is not in every user's PATH
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null 2>&1 || printf '%s\n' "${pair##*:}"
  done
}

install_packages() {
  [ $# -gt 0 ] || return 0
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing system packages: $*"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"; } >&2 ||
      { say "these packages could not be installed: $*"; return 1; }
  else
    say "Please install these packages first: sudo apt-get install $*"
    return 1
  fi
}

setup() {
  local purpose=$1 root needs packages=() python
  shift
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  needs=("${DEMO_NEEDS[@]}")
  [ "$purpose" = test ] && needs+=("${TEST_NEEDS[@]}")
  [ "$purpose" = bench ] && needs+=("${BENCH_NEEDS[@]}")
  mapfile -t packages < <(missing_packages "${needs[@]}")
  if [ "$purpose" = test ] && [ ! -d /usr/share/gocode/src/golang.org/x/mod/sumdb ]; then
    packages+=(golang-golang-x-mod-dev)
  fi
  # libraries have no command to look for: umockdev's tests load this one by name
  if [ "$purpose" = test ] && ! compgen -G '/usr/lib/*/libusb-1.0.so.0' >/dev/null; then
    packages+=(libusb-1.0-0)
  fi
  python=$(usable_python) || packages+=(python3)
  "${python:-python3}" -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
  install_packages "${packages[@]}" || return 1
  python=$(usable_python) || { say "Python 3.11 or later is needed"; return 1; }
  if ! "$root/.tools/uv/bin/uv" --version 2>/dev/null | grep -q "^uv $UV_VERSION"; then
    say "setting up the environment in .venv"
    rm -rf "$root/.tools/uv"
    "$python" -m venv "$root/.tools/uv" && "$root/.tools/uv/bin/pip" install -q "uv==$UV_VERSION" >&2 || return 1
  fi
  (cd "$root" && UV_PYTHON_DOWNLOADS=never .tools/uv/bin/uv sync -q --frozen --python "$python" "$@" >&2)
}
