#!/usr/bin/env bash
# Builds grpc-gateway before our products service, all of it in the versions that go.mod and go.sum pin: build.sh OUT
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$here/../../..
out=$(realpath "$1")

google=$(find /usr/share/gocode/src -path '*gogo/googleapis/google/api' -type d 2>/dev/null | head -1)
[ -n "$google" ] || { echo "google/api is not installed: run ./install-all.sh" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$here"/{main.go,go.mod,go.sum} "$folder"
cd "$folder"

# One compiler at a time takes less memory; it takes minutes either way.
export GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false" GOBIN=$folder/bin
go install -p 1 tool

# The protos name no Go packages, so the options do; and those of google/api as Debian has them are others.
protos=(shop/api/v1/options.proto shop/audit/v1/audit.proto shop/products/v1/products.proto)
options=module=grpcgateway
for proto in "${protos[@]}"; do
  options+=",M$proto=grpcgateway/$(basename "$proto" .proto)"
done
for proto in annotations http; do
  options+=",Mgoogle/api/$proto.proto=google.golang.org/genproto/googleapis/api/annotations"
done
PATH=$GOBIN:$PATH protoc -I "$repo/proto" -I "${google%/google/api}" \
  --go_out=. --go_opt="$options" --go-grpc_out=. --go-grpc_opt="$options" \
  --grpc-gateway_out=. --grpc-gateway_opt="$options" "${protos[@]}"
go build -p 1 -o "$out" .
