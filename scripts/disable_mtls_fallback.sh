#!/usr/bin/env bash
# The kill switch: from now on no administrator comes in by certificate, anywhere, until somebody enables it again. It is
# `portcullis fallback disable` under a name that is found in a hurry.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: disable_mtls_fallback.sh --reason TEXT [--operator NAME] [--dry-run] [--config FILE] [--timeout DURATION]

Closes the administrators' way in by client certificate on all replicas: through the store within a second, and, with
Redis down, through the ops listener of every process that `fallback.processes` names. May be repeated; what is disabled
stays so.

  --reason TEXT       why, for the audit log
  --operator NAME     who does it (default: $SUDO_USER, or else $USER)
  --dry-run           say what would be done, and do nothing
  --config FILE       the settings (default: $PORTCULLIS_CONFIG, or else /etc/portcullis/portcullis.toml)
  --timeout DURATION  how long to wait for each process (default: 3s)

The program is $PORTCULLIS, or else portcullis on the PATH, or else the one that was built here.

Exit codes:
  0  disabled, or so already: every process acknowledged
  1  could not be done: neither the store nor any process took it
  2  the settings or the arguments are wrong
  3  some process did not acknowledge, whether or not the store took it; each is named. One that is cut off from the store
     stays as it was
127  there is no portcullis
USAGE
}

for argument in "$@"; do
  if [[ $argument == --help || $argument == -h ]]; then
    usage
    exit
  fi
done

program() {
  local here built
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  if [[ -n ${PORTCULLIS:-} ]]; then
    echo "$PORTCULLIS"
  elif command -v portcullis; then
    return
  else
    for built in "$here"/target/{release,debug}/portcullis; do
      if [[ -x $built ]]; then
        echo "$built"
        return
      fi
    done
    echo "disable_mtls_fallback.sh: there is no portcullis; set PORTCULLIS to where it is" >&2
    return 127
  fi
}

found=$(program) || exit
exec "$found" fallback disable "$@"
