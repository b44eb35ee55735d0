#!/bin/bash
# build.sh DIRECTORY: builds the programs of a small Kubernetes from Debian 12's source package into DIRECTORY, where
# tests/kubernetes/cluster.py finds them. The package has every library that it needs, so nothing else is fetched.
# What is in DIRECTORY already is kept. It takes some ten minutes on two cores, and 3 GB of disk that it gives back.
set -euo pipefail
umask 022

version=1.20.2
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
go=/usr/lib/go-1.19/bin/go
package=k8s.io/kubernetes

say() { echo "build: $*"; }
die() {
    echo "build: $*" >&2
    exit 1
}

[[ $# == 1 ]] || die "cannot build: no directory given; usage: tests/kubernetes/build.sh DIRECTORY"
mkdir -p "$1"
directory=$(realpath "$1")
work=$directory/build
gopath=$work/gopath
source=$gopath/src/$package

main() {
    if is_complete; then
        say "everything is in $directory already"
        return
    fi
    [[ $(id -u) == 0 ]] || die "cannot build: needs root, to install Debian packages; run it with sudo"
    debian_packages
    mkdir -p "$work"
    [[ -e $work/unpacked ]] || unpack_source
    [[ -e $work/generated ]] || generate_api_description
    local program
    for program in "${programs[@]}"; do
        [[ -x $directory/$program ]] || build_program "$program"
    done
    [[ -e $directory/pause.tar ]] || build_pause
    rm -rf "$work"
    say "done: $(du -sh "$directory" | cut -f1) in $directory"
}

is_complete() {
    local name
    for name in "${programs[@]}" pause.tar; do
        [[ -e $directory/$name ]] || return 1
    done
}

debian_packages() {
    say "Debian packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends \
        golang-1.19-go dpkg-dev gcc libc6-dev buildah containerd runc etcd-server containernetworking-plugins iptables \
        conntrack socat ebtables </dev/null >/dev/null
}

# apt-get with the machine's own sources of packages, told to give those of programs; the machine's lists stay.
apt_sources() {
    apt-get -o "Dir::Etc::SourceList=$work/apt/sources.list" -o "Dir::Etc::SourceParts=$work/apt/parts" \
        -o "Dir::State::Lists=$work/apt/lists" -o APT::Sandbox::User=root -qq "$@"
}

unpack_source() {
    say "source of kubernetes $version"
    rm -rf "$work/apt" "$work/download" "$source"
    mkdir -p "$work/apt/parts" "$work/apt/lists/partial" "$work/download" "${source%/*}"
    local file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [[ -e $file ]] || continue
        sed 's/^Types:.*/Types: deb-src/; s/^deb /deb-src /' "$file" >"$work/apt/parts/${file##*/}"
    done
    : >"$work/apt/sources.list"
    apt_sources update
    (cd "$work/download" && apt_sources source --download-only kubernetes)
    local description
    description=$(echo "$work"/download/kubernetes_*.dsc)
    [[ $description == *[_y]"$version"-* ]] ||
        die "cannot build: ${description##*/} is not of Kubernetes $version; build on Debian 12"
    dpkg-source --no-check -x "$description" "$source" >"$work/dpkg-source.log"
    open_volumes
    touch "$work/unpacked"
}

# The provisioner makes its directories for root's group alone, and Kubernetes hands none of this kind to the group of a
# pod: a user who is not root could write into none. Other provisioners open theirs, too.
open_volumes() {
    local file=$source/pkg/volume/hostpath/host_path.go
    sed -i 's/\(MkdirAll(pv.Spec.HostPath.Path, \)0750)/\10777)/' "$file"
    grep -q 'MkdirAll(pv.Spec.HostPath.Path, 0777)' "$file" || die "cannot build: ${file##*/} is another than expected"
}

run_go() {
    (
        cd "$source"
        GO111MODULE=off GOPATH=$gopath GOCACHE=$work/cache GOFLAGS='' CGO_ENABLED=0 "$go" "$@"
    )
}

# The upstream archive lacks one file that its makefile makes: the description of the API for the API server.
generate_api_description() {
    say "description of the API"
    run_go build -p 2 -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    local described
    described=$(
        cd "$source"
        grep -rl --include='*.go' '+k8s:openapi-gen=' pkg cmd plugin staging/src/k8s.io | xargs -n1 dirname | sort -u |
            grep -v -e code-generator -e sample-apiserver |
            sed "s|^staging/src/|vendor/|; s|^|$package/|" | paste -sd,
    )
    (
        cd "$source"
        GO111MODULE=off GOPATH=$gopath PATH=${go%/*}:$PATH "$work/openapi-gen" --logtostderr -i "$described" \
            -p "$package/pkg/generated/openapi" -O zz_generated.openapi \
            -h hack/boilerplate/boilerplate.generatego.txt -r "$work/violations"
    )
    touch "$work/generated"
}

build_program() {
    say "$1 ($(date +%T))"
    local flags='-s -w' library
    for library in component-base/version client-go/pkg/version; do
        local variable=$package/vendor/k8s.io/$library
        flags+=" -X $variable.gitVersion=v$version -X $variable.gitMajor=1 -X $variable.gitMinor=20"
        flags+=" -X $variable.gitCommit=debian -X $variable.gitTreeState=clean"
    done
    run_go build -p 2 -ldflags "$flags" -o "$directory/$1.new" "./cmd/$1"
    mv "$directory/$1.new" "$directory/$1"
}

# The first process of every pod: it waits, and has no other program beside it.
build_pause() {
    say "image of the first process of a pod"
    gcc -Os -static -s "-DVERSION=$version" -o "$work/pause" "$source/build/pause/linux/pause.c"
    local container
    container=$(images from scratch)
    images copy --quiet "$container" "$work/pause" /pause >/dev/null
    images config --entrypoint '["/pause"]' --user 65535:65535 "$container"
    images commit --quiet --rm "$container" "oci-archive:$work/pause.tar:localhost/pause:latest" >/dev/null
    mv "$work/pause.tar" "$directory/pause.tar"
}

images() { buildah --root "$work/images" --runroot "$work/images-run" --storage-driver vfs "$@"; }

main
