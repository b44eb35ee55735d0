# shellcheck shell=bash
# Builds packages of the product; sourced by ./dev, which has set -euo pipefail, `say`, `die`, `development_environment`,
# `python_environment` and $checkout.
#
# A package is a checkout in /usr/lib/mlflow-systemd with the environment that `./dev install` would have made, as an
# archive. Its scripts call `./dev install` and `./dev uninstall` there: there is one way to install. The archive is
# unpacked to where every installation has its environments, because one must outlive the package that brought it: a
# server of a model goes on running from it through an upgrade.

: "${checkout:?is set by ./dev}" "${venv:?is set by ./dev}"
# shellcheck source=systemd/install.sh
source "$checkout/systemd/install.sh"
scripts=$checkout/package
home=/usr/lib/mlflow-systemd
packed=(dev CHANGELOG.md LICENSE README.md pyproject.toml requirements.lock pipeline.py config containerserver docs
    examples modelserver reconciler systemd templates)

build_packages() {
    local version='' to=$checkout/dist extras=()
    while [[ $# -gt 0 ]]; do
        case $1 in
        --environment-only)
            extras=("${@:2}")
            install_environment # here the prefix is a directory of the build's own
            echo "${environment##*/}" >"$prefix/name"
            return
            ;;
        --with) extras+=("${2-}") && shift ;;
        --version) version=${2-} && shift ;;
        --to) to=$(from_caller "${2:?}") && shift ;;
        *) die "cannot build packages: unknown argument '$1'; ./dev help says which there are" ;;
        esac
        shift
    done
    version=${version:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$checkout/pyproject.toml")}
    [[ $version =~ ^[0-9][0-9A-Za-z.+~]*$ ]] || die "cannot build packages: '$version' is no version such as 1.2.0"
    development_environment

    local stage
    stage=$(mktemp -d /var/tmp/mlflow-systemd-package.XXXXXX)
    # shellcheck disable=SC2064 # the directory of now
    trap "rm -rf '$stage'" EXIT
    say "[1/3] environment, for $(/usr/bin/python3 --version)"
    mkdir "$stage/opt" "$stage/tree"
    UV_CACHE_DIR=${UV_CACHE_DIR:-$stage/cache} in_place_of_prefix "$stage/opt" \
        "$checkout/dev" package --environment-only "${extras[@]}"
    say "[2/3] archive"
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --exclude=./complete \
        --directory "$stage/opt/environments/$(cat "$stage/opt/name")" . | gzip -n >"$stage/tree/environment.tar.gz"
    cp "$stage/opt/name" "$stage/tree/environment.name"
    (cd "$checkout" && cp -r --no-preserve=ownership "${packed[@]}" "$stage/tree/")
    find "$stage/tree" -name __pycache__ -prune -exec rm -rf {} +
    chmod -R u=rwX,go=rX "$stage/tree"
    say "[3/3] packages"
    documents "$stage" "$version"
    scripts "$stage"
    mkdir -p "$to"
    local kind
    for kind in deb rpm; do
        describe "$stage" "$version" >"$stage/nfpm.yaml"
        "$venv/bin/nfpm" package --config "$stage/nfpm.yaml" --packager "$kind" --target "$to" >/dev/null
    done
    ls -sh1 "$to"/mlflow-systemd[_-]"$version"*
}

# in_place_of_prefix DIRECTORY COMMAND...: run a command that sees the directory at the place of every installation: the
# scripts of an environment know where they are.
in_place_of_prefix() {
    local directory=$1 mapped=()
    shift
    [[ $(id -u) == 0 ]] || mapped=(--map-root-user)
    # shellcheck disable=SC2016 # the inner shell has its own
    unshare --mount "${mapped[@]}" bash -euc '
        if [[ ! -d $1 ]]; then
            mount -t tmpfs -o mode=0755 opt "${1%/*}"
            mkdir "$1"
        fi
        mount --bind "$0" "$1"
        shift
        exec "$@"
    ' "$directory" "$prefix" "$@"
}

# documents STAGE VERSION: what Debian wants in /usr/share/doc.
documents() {
    local distribution
    distribution=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    {
        echo "mlflow-systemd ($2-$(release)) ${distribution:-unstable}; urgency=medium"
        printf '\n  * See /usr/lib/mlflow-systemd/CHANGELOG.md.\n\n'
        echo " -- mlflow-systemd maintainers <maintainers@localhost>  $(date -R --date="@$(changed)")"
    } | gzip -9n >"$1/changelog.Debian.gz"
    {
        echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
        printf '\nFiles: *\nCopyright: 2026 The mlflow-systemd authors\nLicense: Expat\n'
        tail -n +4 "$checkout/LICENSE" | sed 's/^$/./; s/^/ /'
    } >"$1/copyright"
}

# scripts STAGE: the scripts of the package. The one that purges runs when the program is gone, so it brings along what it
# needs of systemd/install.sh.
scripts() {
    cp "$scripts/postinst.sh" "$scripts/prerm.sh" "$1/"
    {
        echo '#!/bin/bash'
        echo 'set -euo pipefail'
        declare -p settings users
        declare -f say remove_data remove_users
        cat "$scripts/postrm.sh"
    } >"$1/postrm.sh"
}

# When the newest commit was made, in seconds since 1970.
changed() {
    echo "${SOURCE_DATE_EPOCH:-$(git -C "$checkout" log -1 --format=%ct 2>/dev/null || date +%s)}"
}

# The distribution that the package is for, in a form that its versions sort by.
release() {
    (. /etc/os-release && echo "1~${ID}${VERSION_ID-}")
}

# describe STAGE VERSION: nfpm's description of the packages.
describe() {
    local python next
    python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    next=${python%.*}.$((${python#*.} + 1))
    sed -e "s|@STAGE@|$1|g; s|@HOME@|$home|g; s|@VERSION@|$2|g; s|@RELEASE@|$(release)|g; s|@SCRIPTS@|$scripts|g" \
        -e "s|@PYTHON@|$python|g; s|@NEXT@|$next|g; s|@ARCHITECTURE@|$(dpkg --print-architecture)|g" \
        "$scripts/nfpm.yaml"
}
