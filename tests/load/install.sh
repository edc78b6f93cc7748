#!/usr/bin/env bash
# Brings what `make bench` needs besides the stack: wrk, ghz, the open-loop client of this folder, and grpc-gateway, which
# our gateway is compared with.
# What is there already is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

ghz=github.com/bojand/ghz/cmd/ghz@v0.120.0  # builds with bookworm's Go 1.19
tools=.local/tools/bin
source=tests/load/openloop

say() { printf 'install: %s\n' "$*"; }

packages=()
command -v wrk >/dev/null || packages+=(wrk)
command -v go >/dev/null || packages+=(golang-go)
if [ ${#packages[@]} -gt 0 ]; then
  say "installing ${packages[*]}"
  root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

# The toolchain that is there; a newer one would be another download.
export GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false"
mkdir -p $tools
if [ "$(cat $tools/ghz.version 2>/dev/null)" != $ghz ]; then
  say "building ghz (some minutes)"
  GOBIN=$PWD/$tools go install $ghz
  echo $ghz >$tools/ghz.version
fi
if [ ! -x $tools/openloop ] || [ $source/main.go -nt $tools/openloop ]; then
  say "building the open-loop client"
  (cd $source && go build -o "$OLDPWD/$tools/openloop" .)
fi

# The peer wants a newer Go than bookworm's; without that it is left out, and the report says so.
peer=tests/load/grpcgateway
wanted=$(sed -n 's/^go //p' $peer/go.mod)
built=$(cat $peer/{main.go,go.mod,build.sh} proto/shop/products/v1/products.proto | sha256sum)
if [ "$(printf '%s\n' "$wanted" "$(go env GOVERSION | sed 's/^go//')" | sort -V | head -1)" != "$wanted" ]; then
  say "leaving out grpc-gateway: it wants Go $wanted, this is $(go env GOVERSION)"
elif [ "$(cat $tools/grpc-gateway.version 2>/dev/null)" != "$built" ]; then
  say "building grpc-gateway (some minutes)"
  $peer/build.sh $tools/grpc-gateway
  echo "$built" >$tools/grpc-gateway.version
fi
