#!/usr/bin/env bash
# Brings everything the platform is built, tested and run with. Can be run again at any time:
# what is there already is left alone, and then it takes about a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'END'
usage: ./install-all.sh [--for=test | --for=long | --for=observability | --for=sbom | --for=build | --for=commands] [--no-apt]

  --for=test   only what building, testing and running need; without linters
  --for=long   that, and what the longer runs of make test-long need
  --for=observability
               what running needs, and Prometheus
  --for=sbom   that, and what make sbom needs
  --for=build  only the packages that compiling needs: for images and CI
  --for=commands
               newman and grpcurl alone, with the npm and the Go that are there: for a stack in containers
  --no-apt     leave Debian's packages to somebody else (see the lists in this script)
END
}

build_packages=(
  build-essential ca-certificates cmake ninja-build pkg-config ccache mold git make
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libprotoc-dev
  golang-github-gogo-googleapis-dev
  libboost1.81-dev libboost-system1.81-dev
  libpqxx-dev libpq-dev librdkafka-dev libhiredis-dev libmongoc-dev
  libssl-dev libcrypt-dev libcurl4-openssl-dev libsimdjson-dev libre2-dev libfmt-dev
  libmimalloc-dev prometheus-cpp-dev opentelemetry-proto zlib1g-dev libxxhash-dev
  libdata-password-zxcvbn-perl  # the common passwords, which auth refuses
  libgtest-dev libgmock-dev librapidcheck-dev
)
server_packages=(
  openssl python3 python3-yaml python3-aiosmtpd python3-confluent-kafka python3-jsonschema python3-psutil python3-pymongo
  python3-grpcio python3-opentelemetry-proto
  postgresql-15 redis-server supervisor openjdk-17-jdk-headless maven
)
browser_packages=(chromium chromium-driver python3-selenium)  # for the test of the page at /live
lint_packages=(clang-format-14 clang-tidy-14 shellcheck)
observability_packages=(prometheus)  # for make up PROFILE=observability, and to test its rules
long_packages=(clang-14 libclang-rt-14-dev)

grpcurl=github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.1  # builds with bookworm's Go 1.19
oldest_node=16                                              # newman's

tools=.local/tools
everything=true
long=false
test=false
sbom=false
observability=false
build_only=false
commands_only=false
apt=true
for argument in "$@"; do
  case $argument in
    --for=test) everything=false test=true observability=true ;;
    --for=long) everything=false test=true long=true observability=true ;;
    --for=observability) everything=false observability=true ;;
    --for=sbom) everything=false sbom=true ;;
    --for=build) build_only=true ;;
    --for=commands) commands_only=true apt=false ;;
    --no-apt) apt=false ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
  esac
done

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

# Runs a command as root, by sudo where we are not.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "needs root for: $*. Run it as root, or install sudo."
  fi
}

# done_with STAMP INPUT...: whether the stamp was written for these very inputs.
done_with() { [ "$(cat "$1" 2>/dev/null)" = "$(digest "${@:2}")" ]; }
stamp() { digest "${@:2}" >"$1"; }
digest() { cat -- "$@" | sha256sum | cut -d' ' -f1; }

# --- Debian's packages --------------------------------------------------------------------------

# As the next Debian calls them. It has no Clang 14, whose formatting is this tree's, so there is no lint there.
use_names_of_trixie() {
  local list
  for list in build_packages server_packages long_packages; do
    local -n packages=$list
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sed -e 's/1\.81-dev$/1.83-dev/' \
      -e 's/^postgresql-15$/postgresql-17/' -e 's/^openjdk-17-/openjdk-21-/' -e 's/-14\(-dev\)\?$/-19\1/')
  done
  lint_packages=(shellcheck)
}

check_release() {
  local ID='' VERSION_CODENAME='' PRETTY_NAME='' release=${OS_RELEASE:-/etc/os-release}
  # shellcheck source=/dev/null
  [ ! -r "$release" ] || . "$release"
  [ "$ID" = debian ] || fail "this is ${PRETTY_NAME:-no Linux that says its name}; this script knows the packages of Debian 12 and 13 alone.
What works here:
  - containers: install Docker Engine 23 and Compose 2.20 or later, then run: make up STACK=docker
    Nothing else is installed; make, git, python3 and openssl have to be there.
  - Debian 12 (bookworm), or 13, in a virtual machine, or in WSL2 by install-all.ps1; there: make up
  - these packages, under the names they have here, and then:
    ./install-all.sh --no-apt && make build-release && STACK=native deploy/local/stack.py up
$(printf '%s\n' "$@" | fmt -w 100 | sed 's/^/      /')"
  case $VERSION_CODENAME in
    bookworm | trixie) ;;
    *) say "this is Debian $VERSION_CODENAME, tried are bookworm and trixie: package names and versions may differ" ;;
  esac
}

# Debian 12 has some of the packages in its backports alone. These are had from where the others come from,
# and nothing that the release itself has is taken from there.
add_backports() {
  local codename mirror
  [ "$(apt-cache show --no-all-versions "$@" 2>/dev/null | grep -c '^Package: ')" -lt $# ] || return 0
  # shellcheck source=/dev/null
  codename=$(. "${OS_RELEASE:-/etc/os-release}" && echo "$VERSION_CODENAME")
  # shellcheck disable=SC2016  # apt's own variables
  mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Release: $codename" | head -1)
  [ -n "$mirror" ] || fail "cannot tell where $codename's packages come from: enable $codename-backports for apt"
  printf '%s\n' 'Types: deb' "URIs: $mirror" "Suites: $codename-backports" 'Components: main' \
    'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' |
    as_root tee /etc/apt/sources.list.d/shop-backports.sources >/dev/null
  as_root apt-get update -qq || say "apt-get update failed; going on with the lists that are there"
}

missing_packages() {
  local have
  have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
  comm -23 <(printf '%s\n' "$@" | sort -u) <(sort -u <<<"$have")
}

# Some servers' packages start a daemon of their own when installed. Ours are started by make up on
# other ports, so theirs are kept from starting, now (policy-rc.d) and at the next boot.
install_packages() {
  local policy=/usr/sbin/policy-rc.d cluster=/etc/postgresql-common/createcluster.d/shop.conf
  local own_policy=false fresh=() unit package
  # An earlier run that was cut off may have left its own.
  if [ ! -e "$policy" ] || grep -q 'shop install-all' "$policy"; then
    own_policy=true
    printf '#!/bin/sh\n# shop install-all.sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  for package in "$@"; do
    case $package in
      redis-server | supervisor | prometheus) fresh+=("$package") ;;
      postgresql-1[57])
        fresh+=(postgresql)
        as_root mkdir -p "${cluster%/*}"
        echo 'create_main_cluster = false' | as_root tee "$cluster" >/dev/null
        ;;
    esac
  done
  local result=0
  as_root apt-get update -qq || say "apt-get update failed; going on with the lists that are there"
  add_backports "$@"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Use-Pty=0 "$@" >"$tools/apt.log" 2>&1 || result=$?
  ! $own_policy || as_root rm -f "$policy"
  if [ "$result" -ne 0 ]; then
    tail -20 "$tools/apt.log" >&2
    fail "apt-get could not install the packages; the whole output is in $tools/apt.log"
  fi
  if [ -d /run/systemd/system ]; then
    for unit in "${fresh[@]}"; do
      as_root systemctl disable -q --now "$unit" || say "could not disable the daemon $unit"
    done
  fi
}

bring_packages() {
  ! grep -qs '^VERSION_CODENAME=trixie' "${OS_RELEASE:-/etc/os-release}" || use_names_of_trixie
  local wanted=("${build_packages[@]}") missing
  if ! $build_only; then
    wanted+=("${server_packages[@]}" "${browser_packages[@]}")
    ! $everything || wanted+=("${lint_packages[@]}")
    ! $long || wanted+=("${long_packages[@]}")
    ! { $test || $sbom; } || wanted+=(python3-venv)
    ! $observability || wanted+=("${observability_packages[@]}")
    if ! node_is_new_enough; then wanted+=(nodejs npm); fi
    if ! command -v go >/dev/null && [ ! -x $tools/bin/grpcurl ]; then
      wanted+=(golang-go)
    fi
  fi
  check_release "${wanted[@]}"
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${#missing[@]} Debian packages (some minutes; $tools/apt.log shows how far): ${missing[*]}"
    install_packages "${missing[@]}"
  else
    say "Debian packages are there (${#wanted[@]})"
  fi
}

node_is_new_enough() {
  command -v npm >/dev/null && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge $oldest_node ]
}

# --- what Debian does not carry -----------------------------------------------------------------

# bring_jars NAME [SOURCE]: the jars that deploy/local/NAME/pom.xml pins, and our Java class compiled.
bring_jars() {
  local name=$1 from=(deploy/local/"$1"/pom.xml deploy/local/"$1"/*.java) home=$tools/$1
  [ -f "${from[1]}" ] || from=("${from[0]}")
  if done_with "$home/stamp" "${from[@]}" && compgen -G "$home/jars/*.jar" >/dev/null; then
    say "$name is there"
    return
  fi
  say "bringing $name from Maven Central (a minute the first time)"
  rm -rf "$home"
  mkdir -p "$home"
  mvn -B -ntp -q -f "${from[0]}" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$PWD/$home/jars" >"$home/mvn.log" 2>&1 ||
    { tail -20 "$home/mvn.log" >&2; fail "could not bring $name from Maven Central"; }
  [ ${#from[@]} -eq 1 ] || javac -cp "$home/jars/*" -d "$home/classes" "${from[@]:1}"
  [ "$name" != kafka ] || /usr/bin/python3 deploy/local/stack.py prepare-kafka
  stamp "$home/stamp" "${from[@]}"
}

bring_newman() {
  local home=$tools/npm list=deploy/local/tools
  if done_with "$home/stamp" $list/package.json $list/package-lock.json; then
    say "newman, buf, Swagger UI and the AsyncAPI parser are there"
    return
  fi
  say "bringing newman, buf, Swagger UI and the AsyncAPI parser by npm"
  mkdir -p "$home"
  cp $list/package.json $list/package-lock.json "$home"
  npm ci --prefix "$home" --ignore-scripts --no-audit --no-fund --loglevel=error
  stamp "$home/stamp" $list/package.json $list/package-lock.json
}

# bring_python_tool NAME FOLDER LIST: one of Python's own, in an environment of its own.
bring_python_tool() {
  local name=$1 home=$tools/$2 list=$3
  if done_with "$home/stamp" "$list"; then
    say "$name is there"
    return
  fi
  say "bringing $name from PyPI"
  rm -rf "$home"
  /usr/bin/python3 -m venv "$home"
  "$home/bin/pip" install --quiet --disable-pip-version-check -r "$list"
  stamp "$home/stamp" "$list"
}

bring_grpcurl() {
  if [ "$(cat $tools/bin/grpcurl.version 2>/dev/null)" = $grpcurl ]; then
    say "grpcurl is there"
    return
  fi
  say "building grpcurl (a minute)"
  # The toolchain that is there; a newer one would be another download.
  GOBIN=$PWD/$tools/bin GOTOOLCHAIN=local GOFLAGS=-trimpath go install $grpcurl 2>$tools/grpcurl.log ||
    { tail $tools/grpcurl.log >&2; fail "could not build grpcurl"; }
  echo $grpcurl >$tools/bin/grpcurl.version
}

mkdir -p $tools
! $apt || bring_packages
! $build_only || exit 0
if $commands_only; then
  ! command -v npm >/dev/null || bring_newman
  ! command -v go >/dev/null || bring_grpcurl
  exit
fi
bring_jars kafka
bring_jars mongo
bring_newman
bring_grpcurl
! $test || bring_python_tool SimPy simulation tests/scale/requirements.txt
! $long || bring_python_tool schemathesis python tests/api/requirements.txt
! $sbom || bring_python_tool distro2sbom sbom deploy/local/tools/requirements.txt
[ -f .env ] || say "making .env from .env.example, with secrets of its own"
/usr/bin/python3 deploy/local/stack.py init-env --out .env
say "done"
