#!/usr/bin/env bash
# Checks the protos with buf, and that the past is still read.
#   protos.sh lint       style
#   protos.sh breaking   against what stood before: no message, field, enum value or method that others use
#                        was changed or removed, and no golden file of an event was edited
# What stood before is where this branch left main; on main itself, when nothing is uncommitted, the commit
# before the last. Without history (an archive, a shallow clone) there is nothing to compare with, and that is
# said and is no failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
changeless=(proto tests/golden)

buf=$(compgen -G "$PWD/.local/tools/npm/node_modules/@bufbuild/buf-linux-*/bin/buf" | head -1) ||
  { echo "buf is missing: run ./install-all.sh" >&2; exit 1; }
google=$(find /usr/share/gocode/src -path '*gogo/googleapis/google/api' -type d 2>/dev/null | head -1)
[ -n "$google" ] || { echo "google/api is not installed: run ./install-all.sh" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The protos import google/api, which lies with a Debian package: buf gets both in one workspace.
make_workspace() {  # make_workspace DIRECTORY, which has proto/
  mkdir -p "$1/googleapis/google/api"
  cp "$google"/*.proto "$1/googleapis/google/api"
  cat >"$1/buf.yaml" <<END
version: v2
modules:
  - path: proto
  - path: googleapis
lint:
  use: [STANDARD]
  except: [RPC_REQUEST_RESPONSE_UNIQUE, RPC_RESPONSE_STANDARD_NAME]
  ignore: [googleapis, proto/grpc]
  # The audit logs of all services are asked for alike.
  ignore_only:
    RPC_REQUEST_STANDARD_NAME: [$(echo proto/shop/{auth,payments,products,users}/v1/*.proto | tr ' ' ',')]
breaking:
  use: [FILE]
  ignore: [googleapis, proto/grpc]
END
}

today() {
  mkdir "$work/today"
  cp -r proto "$work/today/proto"
  make_workspace "$work/today"
}

commit_of() { git rev-parse --quiet --verify "$1^{commit}" 2>/dev/null; }

# The commit to compare with; nothing when there is none.
before() {
  local head main base=""
  head=$(commit_of HEAD) || return 0
  for main in origin/main main; do
    commit_of "$main" >/dev/null || continue
    base=$(git merge-base HEAD "$main" 2>/dev/null) && break
  done
  if [ -z "$base" ] || { [ "$base" = "$head" ] && git diff --quiet HEAD -- "${changeless[@]}"; }; then
    base=$(commit_of HEAD^) || return 0
  fi
  echo "$base"
}

breaking() {
  local base edited
  base=$(before)
  if [ -z "$base" ] || ! git cat-file -e "$base:proto" 2>/dev/null; then
    echo "protos: there is no earlier version here to compare with"
    return 0
  fi
  today
  mkdir "$work/before"
  git archive "$base" proto | tar -x -C "$work/before"
  make_workspace "$work/before"
  echo "protos: compared with $(git log -1 --format='%h %s' "$base")"
  (cd "$work/today" && "$buf" breaking --against "$work/before")
  edited=$(git diff --no-renames --name-only --diff-filter=a "$base" -- tests/golden)
  if [ -n "$edited" ]; then
    printf 'protos: golden files are added and never edited: a change of shape is a new file\n%s\n' "$edited" >&2
    return 1
  fi
}

case ${1:-} in
  lint) today && cd "$work/today" && "$buf" lint ;;
  breaking) breaking ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
