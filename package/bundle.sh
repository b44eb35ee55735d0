# shellcheck shell=bash
# Puts all that a host without a network needs into one file; sourced by ./dev after package/build.sh.

: "${checkout:?is set by ./dev}" "${venv:?is set by ./dev}" "${scripts:?is set by package/build.sh}"

build_bundle() {
    local to=$checkout/dist options=() models=() built=''
    while [[ $# -gt 0 ]]; do
        case $1 in
        --with | --version) options+=("$1" "${2-}") && shift ;;
        --packages) built=$(realpath "${2:?}") && shift ;;
        --to) to=$(realpath -m "${2:?}") && shift ;;
        -*) die "cannot make a bundle: unknown argument '$1'; ./dev help says which there are" ;;
        *) models+=("$1") ;;
        esac
        shift
    done
    [[ ${#models[@]} -gt 0 ]] ||
        die "cannot make a bundle: no model is named; name those that the hosts serve, such as pauses/3"
    development_environment

    local room name
    room=$(mktemp -d /var/tmp/mlflow-systemd-bundle.XXXXXX)
    # shellcheck disable=SC2064 # the directory of now
    trap "rm -rf '$room'" EXIT
    mkdir -p "$room/wheels" "$room/packages" "$to"
    say "wheels"
    PYTHONPATH=$checkout "$venv/bin/python" -W ignore -m package.wheels "$room/wheels" "${models[@]}" |
        tee "$room/models.txt"
    if [[ -n $built ]]; then
        cp "$built"/mlflow-systemd[_-]* "$room/packages"
    else
        # A shell of its own: it has a trap of its own.
        (build_packages "${options[@]}" --to "$room/packages")
    fi
    cp "$scripts/install-bundle" "$room/install"
    name=$(basename "$room"/packages/*.deb .deb)
    name=${name/mlflow-systemd_/mlflow-systemd-offline_}
    chmod -R u=rwX,go=rX "$room"
    tar --create --file "$to/$name.tar.new" --sort=name --owner=0 --group=0 --numeric-owner \
        --transform "s|^\.|$name|" --directory "$room" .
    mv "$to/$name.tar.new" "$to/$name.tar"
    ls -sh1 "$to/$name.tar"
}
