#!/bin/sh
# Make .venv with a Python that is here. Asks for nothing: what is missing is installed where this is
# root's Debian, else said in one sentence.
set -eu
folder=$1

usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }
whole() { usable "$1" && "$1" -c 'import ensurepip, venv' 2>/dev/null; }

[ -x "$folder/bin/python" ] && whole "$folder/bin/python" && exit 0

candidates="${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python3.14 /usr/bin/python3"
found=
for candidate in $candidates; do
  if whole "$candidate"; then found=$candidate; break; fi
done

if [ -z "$found" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  # Debian's Python comes without ensurepip.
  echo "installing python3-venv"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -qq -y --no-install-recommends python3-venv >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends python3-venv >/dev/null
  }
  if whole /usr/bin/python3; then found=/usr/bin/python3; fi
fi

if [ -z "$found" ]; then
  echo "This needs Python 3.10 or later with its venv module: on Debian or Ubuntu run" \
    "'sudo apt-get install python3-venv', elsewhere install Python, or name one with PYTHON=/path/to/python." >&2
  exit 1
fi

"$found" -m venv --clear "$folder"
"$folder/bin/python" -c 'import platform; print("Python", platform.python_version(), "in", "'"$folder"'")'
