# shellcheck shell=bash
# Puts all that a host without internet needs into one file; sourced by ./dev after package/build.sh.

: "${checkout:?is set by ./dev}" "${venv:?is set by ./dev}" "${scripts:?is set by package/build.sh}"

build_bundle() {
    local to=$checkout/dist options=() ignoring=() models=() built='' kind
    while [[ $# -gt 0 ]]; do
        case $1 in
        --with | --version) options+=("$1" "${2-}") && shift ;;
        --ignore-index-options) ignoring=("$1") ;;
        --packages) built=$(from_caller "${2:?}") && shift ;;
        --to) to=$(from_caller "${2:?}") && shift ;;
        -*) die "cannot make a bundle: unknown argument '$1'; ./dev help says which there are" ;;
        *)
            # A saved model, or one of the registry.
            [[ ! -e $(from_caller "$1")/MLmodel ]] || set -- "$(from_caller "$1")" "${@:2}"
            models+=("$1")
            ;;
        esac
        shift
    done
    [[ ${#models[@]} -gt 0 ]] ||
        die "cannot make a bundle: no model is named; name those that the hosts serve, such as pauses/3"
    local deb=() rpm=()
    if [[ -n $built ]]; then
        shopt -s nullglob
        deb=("$built"/mlflow-systemd_*.deb) rpm=("$built"/mlflow-systemd-[0-9]*.rpm)
        shopt -u nullglob
        for kind in "${#deb[@]} deb" "${#rpm[@]} rpm"; do
            [[ ${kind% *} == 1 ]] ||
                die "cannot make a bundle: there are $kind packages in $built; name a directory with one of each"
        done
    fi
    development_environment

    local room name
    room=$(mktemp -d /var/tmp/mlflow-systemd-bundle.XXXXXX)
    # shellcheck disable=SC2064 # the directory of now
    trap "rm -rf '$room'" EXIT
    mkdir -p "$room/tmp" "$room/bundle/wheels" "$room/bundle/packages" "$to"
    say "wheels"
    TMPDIR=$room/tmp PYTHONPATH=$checkout "$venv/bin/python" -W ignore -m package.wheels "${ignoring[@]}" \
        "$room/bundle/wheels" "${models[@]}" | tee "$room/bundle/models.txt"
    if [[ -n $built ]]; then
        cp "${deb[@]}" "${rpm[@]}" "$room/bundle/packages"
    else
        # A shell of its own: it has a trap of its own.
        (build_packages "${options[@]}" --to "$room/bundle/packages")
    fi
    cp "$scripts/install-bundle" "$room/bundle/install"
    name=$(basename "$room"/bundle/packages/*.deb .deb)
    name=${name/mlflow-systemd_/mlflow-systemd-offline_}
    chmod -R u=rwX,go=rX "$room/bundle"
    tar --create --file "$to/$name.tar.new" --sort=name --owner=0 --group=0 --numeric-owner \
        --transform "s|^\.|$name|" --directory "$room/bundle" .
    mv "$to/$name.tar.new" "$to/$name.tar"
    ls -sh1 "$to/$name.tar"
}
