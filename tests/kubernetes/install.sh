#!/usr/bin/env bash
# Brings what tests/kubernetes/run.py needs into .local/kubernetes/bin: helm, kubeconform, Kubernetes' API server and kubectl
# from Go's module proxy, etcd from Debian's package, which is unpacked and not installed. What is there already is left
# alone. The API server takes some ten minutes of two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

helm=helm.sh/helm/v3/cmd/helm@v3.18.6
kubeconform=github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0
kubernetes=1.34.2  # tests/kubernetes/server/go.mod has it too
oldest_go=24
tools=$PWD/.local/kubernetes/bin

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

minor=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
[ "${minor:-0}" -ge $oldest_go ] || fail "Go 1.$oldest_go or later is needed, and there is ${minor:+1.}${minor:-none}"
# The toolchain that is there; a newer one would be another download.
export GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false"
mkdir -p "$tools"

# bring NAME VERSION COMMAND...: runs the command unless it was run for this version before.
bring() {
  local name=$1 version=$2
  [ "$(cat "$tools/$name.version" 2>/dev/null)" = "$version" ] && [ -x "$tools/$name" ] && return
  say "bringing $name"
  "${@:3}"
  echo "$version" >"$tools/$name.version"
}

# Without these helm takes the cluster that it renders for to be of 2020.
chartutil=helm.sh/helm/v3/pkg/chartutil
helm_for="-X $chartutil.k8sVersionMajor=1 -X $chartutil.k8sVersionMinor=${kubernetes:2:2}"
bring helm "$helm $kubernetes" env GOBIN="$tools" nice go install -ldflags "-s -w $helm_for" $helm
bring kubeconform $kubeconform env GOBIN="$tools" nice go install $kubeconform

build_server() {
  local version=k8s.io/component-base/version
  (cd tests/kubernetes/server &&
    nice go build -o "$tools/" -ldflags "-s -w -X $version.gitVersion=v$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=${kubernetes:2:2}" \
      k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl)
}
bring kube-apiserver $kubernetes build_server

unpack_etcd() {
  local folder
  folder=$(mktemp -d)
  (cd "$folder" && apt-get download -qq etcd-server && dpkg-deb -x etcd-server_*.deb .)
  install "$folder/usr/bin/etcd" "$tools/etcd"
  rm -r "$folder"
}
bring etcd debian unpack_etcd
