# shellcheck shell=bash
# Installs the product on this host and removes it again; sourced by ./dev, which has set -euo pipefail, `say`, `die`,
# `debian_packages`, `python_environment` and $checkout.
#
# What is installed lives in two kinds of directories, each named by a digest of everything in it and used only once its
# last file, `complete`, is there:
#   $prefix/environments/<digest>   a Python environment with the packages of requirements.lock and of the locks of extras,
#                                   and in server-wheels those of modelserver/requirements.lock as wheels
#   $prefix/versions/<digest>       the project's own packages, launchers, templates; `venv` in it points to an environment
# $prefix/current points to the version in use and $prefix/{venv,bin,...} into current, so that one rename switches all of
# it. An install that is interrupted leaves the former version in use and the next run starts the unfinished directory
# over. Every other step may be repeated. What others than root could change is not believed: it is made anew.

: "${checkout:?is set by ./dev}"
prefix=/opt/mlflow-reconciler
settings=/etc/mlflow-reconciler
units=/usr/local/lib/systemd/system
catalog=/usr/local/lib/systemd/catalog/mlflow-reconciler.catalog
sysusers=/etc/sysusers.d/mlflow-reconciler.conf
tmpfiles=/etc/tmpfiles.d/mlflow-reconciler.conf
man_pages=/usr/local/share/man
# Where each shell looks for what completes the words of a command, by the file of ours that goes there.
declare -A completions=(
    [reconciler.bash]=/usr/local/share/bash-completion/completions/reconciler
    [_reconciler]=/usr/local/share/zsh/site-functions/_reconciler
    [reconciler.fish]=/usr/local/share/fish/vendor_completions.d/reconciler.fish
)
metrics=/var/lib/prometheus/node-exporter/mlflow_reconciler.prom
package_cache=/var/cache/mlflow-reconciler
install_lock=/run/mlflow-reconciler.install.lock
# What a package brings in the place of what a checkout downloads: an environment that was built for this place, and its
# name.
packed_environment=$checkout/environment.tar.gz
packed_name=$checkout/environment.name
# In the order of their start: the reconciler reads the snapshots of older agents, too, and none of newer ones.
services=(mlflow-reconciler.service mlflow-registry-agent.service)
users=(mlflow-agent mlflow-deploy mlflow-files mlflow-kubernetes)
shipped=(templates examples docs pipeline.py)
owner_mark='^\[X-Mlflow-Reconciler\]'
install_usage='usage: ./dev install [--prepare | --no-start | --program-only] [--with gs|azure|kubernetes|none]'

install_product() {
    local mode='' asked=() extras
    while [[ $# -gt 0 ]]; do
        case $1 in
        --no-start | --prepare | --program-only) mode=$1 ;;
        --with)
            shift
            [[ ${1-} == none || ${1-} =~ ^(gs|azure|kubernetes)$ ]] ||
                die "cannot install with '${1-}': there is no such extra; choose gs, azure, kubernetes or none"
            asked+=("$1")
            ;;
        *) die "cannot install: unknown argument '$1'; $install_usage" ;;
        esac
        shift
    done
    if [[ $mode == --program-only ]]; then
        install_program_only
        return
    fi
    as_root_with_systemd install
    [[ ! -e $packed_environment || ${#asked[@]} -eq 0 ]] ||
        die "cannot add ${asked[*]}: a package installs what is in it; build one with ./dev package --with ${asked[*]}"
    trap 'say "not finished: what was installed before is still in use; run $checkout/dev install again"' EXIT
    trap 'exit 130' INT TERM

    say "[1/5] Debian packages"
    if [[ ! -e $packed_environment ]]; then
        debian_packages dbus ca-certificates python3 python3-venv python3-gi python3-systemd
    fi

    say "[2/5] program (the first time it downloads for about a minute)"
    own_directories
    mapfile -t extras < <(choose_extras "${asked[@]}")
    export UV_CACHE_DIR=${UV_CACHE_DIR:-$package_cache}
    if [[ $mode == --prepare ]]; then
        install_environment
        trap - EXIT INT TERM
        say "prepared: what takes long is done, nothing that runs has changed (--prepare)"
        return
    fi
    install_program

    say "[3/5] users, directories and settings"
    install -D -m 0644 "$checkout/systemd/mlflow-reconciler.sysusers.conf" "$sysusers"
    install -D -m 0644 "$checkout/systemd/mlflow-reconciler.tmpfiles.conf" "$tmpfiles"
    systemd-sysusers "$sysusers"
    systemd-tmpfiles --create --remove "$tmpfiles"
    install_settings
    install_man_pages_and_completion

    say "[4/5] units"
    local changed=no unit target
    for unit in "$checkout"/systemd/*.{service,slice}; do
        target=$units/${unit##*/}
        cmp -s <(unit_for_this_systemd "$unit") "$target" || changed=yes
        unit_for_this_systemd "$unit" | install -D -m 0644 /dev/stdin "$target"
    done
    install -D -m 0644 "$checkout/systemd/mlflow-reconciler.catalog" "$catalog"
    journalctl --update-catalog
    systemctl daemon-reload
    systemctl --quiet enable "${services[@]}"

    say "[5/5] services"
    trap 'say "not finished: the new version is installed, but its services do not run; mend what is said above"' EXIT
    if [[ $mode == --no-start ]]; then
        say "      not started (--no-start); they start at the next boot"
    else
        start_services "$changed"
    fi
    remove_old_versions
    trap - EXIT INT TERM
    say "installed. Settings: $settings/config.toml. Look: reconciler status, journalctl -u mlflow-reconciler"
}

# For the image of a container, where no systemd runs: no users, no settings, no units.
install_program_only() {
    [[ $(id -u) == 0 ]] || die "cannot install: needs root; run it with sudo"
    [[ -e $packed_environment ]] ||
        die "cannot install the program only: this is no package; build one with ./dev package"
    own_directories
    local extras=()
    install_program
    say "installed, without services (--program-only)"
}

as_root_with_systemd() {
    [[ $(id -u) == 0 ]] || die "cannot $1: needs root; run it with sudo"
    [[ -d /run/systemd/system ]] || die "cannot $1: this machine was not booted with systemd; try ./dev shell instead"
    # Who can open a lock can hold it. One that a former version left open to all is exchanged, whoever holds it.
    [[ $(stat -c '%u %a' "$install_lock" 2>/dev/null) == "0 600" ]] || rm -rf "$install_lock"
    (umask 077 && : >>"$install_lock")
    exec 9>"$install_lock"
    flock --nonblock 9 || die "cannot $1: another install or uninstall is running; wait for it"
}

# The directories in which names mean something are root's alone, before anything in them is run or believed. In the order
# from above to below: nobody else can put anything in the place of what is looked at next.
own_directories() {
    local directory foreign
    for directory in "$prefix" "$prefix/environments" "$prefix/versions"; do
        install -d -m 0755 -o root -g root "$directory"
        find "$directory" -mindepth 1 -maxdepth 1 ! -user root -print0 | while IFS= read -r -d '' foreign; do
            say "      $foreign was not made by root and is removed"
            rm -rf "$foreign"
        done
    done
    # uv trusts what it finds in its cache, and its locks are open to whoever gets to them: nobody else does, and who got
    # to one before keeps what is deleted here.
    if [[ -e $package_cache ]] && others_can_change "$package_cache" ! -name '*.lock'; then
        say "      $package_cache could be changed by others than root and is emptied"
        rm -rf "$package_cache"
    fi
    install -d -m 0700 -o root -g root "$package_cache"
    find "$package_cache" -name '*.lock' -type f -delete
}

# others_can_change DIRECTORY [TESTS OF find]: whether anything in it is somebody else's, or open to writing.
others_can_change() {
    local directory=$1
    shift
    [[ -n $(find "$directory" "$@" \( ! -user root -o ! -type l -perm /022 \) -print -quit) ]]
}

# choose_extras ASKED...: the extras to install, one a line: those of the environment in use and those that are asked for,
# so that neither an upgrade nor another extra takes a library away. With `none`, only those that are asked for.
choose_extras() {
    {
        printf '%s\n' "$@"
        [[ " $* " == *' none '* || ! -f $prefix/venv/extras ]] || cat "$prefix/venv/extras"
    } | sed '/^none$/d; /^$/d' | sort -u
}

install_environment() {
    if [[ -e $packed_environment ]]; then
        unpack_environment
        return
    fi
    local locks=(requirements.lock) extra
    for extra in "${extras[@]}"; do locks+=("requirements-$extra.lock"); done
    environment=environments/$( (/usr/bin/python3 --version && cd "$checkout" &&
        cat "${locks[@]}" modelserver/requirements.lock) | sha256sum | cut -c1-12)
    local new=$prefix/$environment
    if is_usable "$new"; then
        show_to_all "$new"
        return
    fi
    say "      $environment: packages of ${locks[*]} and of the model server"
    # Nobody uses an unfinished one, so it is started over; the cache makes that quick.
    rm -rf "$new"
    # Closed until it is finished, or others could hold the lock that uv puts into it.
    install -d -m 0700 "$new"
    python_environment "$new" "${locks[@]}"
    for extra in "${extras[@]}"; do echo "$extra"; done >"$new/extras"
    server_wheels "$new/server-wheels"
    # Of the version in use when a process starts, and of no other while it runs.
    echo "import sys, os; sys.path.append(os.path.realpath('$prefix/current/lib'))" \
        >"$(echo "$new"/lib/python3*/site-packages)/mlflow-systemd.pth"
    compile_bytecode "$new"
    finish "$new"
}

# Libraries for other artifact stores that are in use here must be in it, too: models need them at their next fetch.
unpack_environment() {
    local extra
    for extra in "${extras[@]}"; do
        tar --extract --gzip --to-stdout --file "$packed_environment" ./extras | grep -qx "$extra" ||
            die "cannot install: this host has the libraries of --with $extra, and the package was built without;" \
                "build one with ./dev package --with $extra"
    done
    environment=environments/$(cat "$packed_name")
    local new=$prefix/$environment
    if is_usable "$new"; then
        show_to_all "$new"
        return
    fi
    say "      $environment: from the package"
    rm -rf "$new"
    install -d -m 0700 "$new"
    tar --extract --gzip --no-same-owner --file "$packed_environment" --directory "$new"
    finish "$new"
}

# is_usable ENVIRONMENT: whether it is finished, and nobody else could have changed it.
is_usable() {
    [[ -e $1/complete && -x $1/bin/uv ]] && ! others_can_change "$1"
}

# server_wheels DIRECTORY: what the server needs beside a model's own packages, as wheels, every file by its hash. A model
# that ships all its packages as wheels needs no index then (reconciler/steps/install.py).
server_wheels() {
    local tools list
    tools=$(mktemp -d)
    /usr/bin/python3 -m venv "$tools/venv"
    # The lock has several versions of a package, for several Pythons, and pip takes one of a name at a time: the first of
    # each comes into the first list, the second into the second.
    awk -v to="$tools" '/^[a-z]/ { split($1, name, "=="); list = to "/list." ++seen[name[1]]; sub(/ ;.*/, " \\") }
        { print >list }' "$checkout/modelserver/requirements.lock"
    for list in "$tools"/list.*; do
        "$tools/venv/bin/python" -m pip download -qq --require-hashes --no-deps --only-binary :all: \
            --dest "$1" --requirement "$list"
    done
    rm -rf "$tools"
}

install_program() {
    local id new name
    install_environment
    id=$(version_id)
    new=$prefix/versions/$id
    if [[ -e $new/complete ]] && ! others_can_change "$new" && contents "$new" | cmp -s - "$new/contents"; then
        say "      versions/$id is here already"
    else
        say "      versions/$id: reconciler, modelserver, containerserver"
        rm -rf "$new"
        install -d -m 0700 "$new"
        mkdir "$new/bin"
        ln -s "../../$environment" "$new/venv"
        install_packages "$new"
        install -m 0755 "$checkout"/systemd/launchers/* "$new/bin/"
        install -m 0755 "$checkout/reconciler/steps/check_files.py" "$new/bin/check-files"
        for name in "${shipped[@]}"; do
            [[ ! -e $checkout/$name ]] || cp -r --no-preserve=ownership "$checkout/$name" "$new/"
        done
        find "$new" -name __pycache__ -exec rm -rf {} +
        compile_bytecode "$new"
        finish "$new"
        contents "$new" >"$new/contents"
    fi
    for name in venv bin "${shipped[@]}"; do
        [[ ! -e $new/$name ]] || ln -sfn "current/$name" "$prefix/$name"
    done
    ln -sfn "versions/$id" "$prefix/current.new"
    mv -T "$prefix/current.new" "$prefix/current"
    install -d /usr/local/bin
    ln -sfn "$prefix/bin/reconciler" /usr/local/bin/reconciler
}

# unit_for_this_systemd UNIT: its text. From 254 on, systemd has a way to take credentials that may be missing which tells
# nothing of those that are; templates/credential.j2 is the same for the units that the reconciler writes.
unit_for_this_systemd() {
    local version
    version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    if ((version >= 254)); then
        sed 's/^LoadCredential\(Encrypted\)\?=/ImportCredential=/' "$1"
    else
        cat "$1"
    fi
}

# Readable by all, writable by root, on the disk, and only then complete.
finish() {
    chmod -R u=rwX,go=rX "$1"
    sync --file-system "$1"
    touch "$1/complete"
    sync "$1/complete"
}

# The same of one that is complete: only what somebody hid is touched.
show_to_all() {
    find "$1" ! -type l \( ! -perm -444 -o -perm /111 ! -perm -111 \) -exec chmod u=rwX,go=rX {} +
}

# What was installed, so that running install again repairs it: names, modes, links and content.
contents() {
    (
        cd "$1" || exit
        find . \( -name __pycache__ -o -path ./contents -o -path ./complete -o -path ./started \) -prune \
            -o -printf '%P %M %l\n' -type f -exec sha256sum {} + | LC_ALL=C sort
    )
}

# Everything that ends up in the program, by content.
version_id() {
    (
        cd "$checkout" || exit
        local name sources=(reconciler modelserver containerserver systemd/launchers requirements.lock pyproject.toml)
        for name in "${shipped[@]}"; do
            [[ ! -e $name ]] || sources+=("$name")
        done
        echo "$environment"
        find "${sources[@]}" -name __pycache__ -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    ) | sha256sum | cut -c1-12
}

# The project's own two packages, as a wheel that uv makes by itself: no network, no other build tool.
install_packages() {
    local work
    work=$(mktemp -d)
    mkdir "$work/source"
    (
        cd "$checkout" || exit
        cp -r reconciler modelserver containerserver pyproject.toml LICENSE "$work/source/"
        [[ ! -e README.md ]] || cp README.md "$work/source/"
    )
    touch "$work/source/README.md"
    "$prefix/$environment/bin/uv" build --quiet --offline --no-config --wheel --out-dir "$work" "$work/source"
    "$prefix/$environment/bin/uv" pip install --quiet --offline --no-config --no-deps --no-index \
        --python "$prefix/$environment" --target "$1/lib" "$work"/*.whl
    rm -rf "$work"
}

# -S: no .pth file, and so no code, of any package is run while it is compiled. Some packages ship files that are not
# meant to compile (templates, tests for newer Pythons); what matters is found at import.
compile_bytecode() {
    "$prefix/$environment/bin/python" -I -S -m compileall -qq -j 0 "$1/lib" || true
}

install_settings() {
    install -d -m 0755 "$settings" "$settings/config.d" "$settings/templates"
    local shipped_settings=$checkout/config/config.toml
    if [[ ! -e $settings/config.toml ]]; then
        install -m 0644 "$shipped_settings" "$settings/config.toml"
        rm -f "$settings/config.toml.new"
    elif cmp -s "$shipped_settings" "$settings/config.toml"; then
        rm -f "$settings/config.toml.new"
    else
        install -m 0644 "$shipped_settings" "$settings/config.toml.new"
        say "      $settings/config.toml differs from the shipped one and stays; the shipped one is beside it: config.toml.new"
    fi
}

install_man_pages_and_completion() {
    local page name
    for page in "$checkout"/docs/man/*.[15]; do
        install -D -m 0644 "$page" "$man_pages/man${page##*.}/${page##*/}"
    done
    for name in "${!completions[@]}"; do
        install -D -m 0644 "$checkout/systemd/completion/$name" "${completions[$name]}"
    done
}

start_services() {
    local marker=$prefix/current/started verb=start
    # Restarted when the program or a unit is new; the marker is written after, so an interrupted restart is repeated.
    [[ $1 == no && -e $marker ]] || verb=restart
    rm -f "$marker"
    local service
    for service in "${services[@]}"; do
        systemctl "$verb" "$service" || {
            systemctl --no-pager --lines=20 status "$service" || true
            die "cannot $verb $service: see above; mend it and run ./dev install again"
        }
        say "      $service: $(systemctl is-active "$service")"
    done
    touch "$marker"
}

# An environment stays while a model's server runs from it (environment = "host"), the former version until the next.
remove_old_versions() {
    local directory
    find "$prefix"/versions -mindepth 1 -maxdepth 1 -printf '%C@ %p\n' | sort -rn | tail -n +3 | cut -d' ' -f2- |
        while read -r directory; do
            [[ $directory -ef $prefix/current ]] || rm -rf "$directory"
        done
    for directory in "$prefix"/environments/*; do
        if [[ $directory -ef $prefix/venv ]]; then
            continue
        elif grep -qsaF "$directory/" /proc/[0-9]*/cmdline; then
            say "      $directory is in use by a running model and stays until the next install"
        elif ! find "$prefix"/versions/*/venv -lname "*/${directory##*/}" | grep -q .; then
            rm -rf "$directory"
        fi
    done
}

uninstall_product() {
    local keep='' is_sure=no
    while [[ $# -gt 0 ]]; do
        case $1 in
        --keep-settings | --keep-data) keep=$1 ;;
        --yes) is_sure=yes ;;
        *)
            die "cannot uninstall: unknown argument '$1'; usage: ./dev uninstall [--keep-settings | --keep-data] [--yes]"
            ;;
        esac
        shift
    done
    as_root_with_systemd uninstall
    [[ $is_sure == yes ]] || ask_before_models_end

    say "[1/4] services"
    systemctl --quiet disable --now "${services[@]}" 2>/dev/null || true

    say "[2/4] deployments"
    uninstall_deployments

    say "[3/4] program, units and data (about a minute)"
    remove_program
    if [[ $keep == --keep-data ]]; then
        say "      releases, audit log and settings stay (--keep-data); the next install goes on with them"
    else
        remove_data
        if [[ $keep == --keep-settings ]]; then
            say "      settings stay in $settings (--keep-settings)"
        else
            rm -rf "$settings"
        fi
    fi
    systemctl daemon-reload
    systemctl reset-failed "${services[@]}" 2>/dev/null || true
    journalctl --update-catalog

    say "[4/4] users"
    [[ $keep == --keep-data ]] || remove_users
    rm -f "$install_lock"
    say "uninstalled. What stays: Debian packages, the journal, credentials you put into /etc/credstore,"
    say "and in MLflow the tags deployed.HOST of the versions that served here last, and the tag host.HOST of the"
    say "experiment mlflow-systemd; nobody renews them any more. Where ./dev demo ran: .venv in the clone, and"
    say "/var/tmp/mlflow-systemd-hosts"
}

remove_program() {
    local unit
    systemctl --quiet stop 'mlflow-temp@*' 2>/dev/null || true
    for unit in "$checkout"/systemd/*.{service,slice}; do
        unit=${unit##*/}
        [[ $unit == *@* ]] || systemctl --quiet stop "$unit" 2>/dev/null || true
        rm -f "$units/$unit"
    done
    rm -rf "$prefix" "$package_cache" \
        /run/mlflow-reconciler /run/mlflow-registry-agent /run/models /run/mlflow-temp /run/mlflow-compose
    rm -f "$metrics" /usr/local/bin/reconciler "$catalog" "$tmpfiles" "$sysusers" \
        "$man_pages"/man1/reconciler.1 "$man_pages"/man5/mlflow-reconciler.toml.5 "${completions[@]}"
    remove_if_empty "$units" "${catalog%/*}" "${units%/*}" "${sysusers%/*}" "${tmpfiles%/*}" "$man_pages"/man[15] \
        /usr/local/share/bash-completion{/completions,} /usr/local/share/fish{/vendor_completions.d,}
    # Debian's zsh makes these itself.
    command -v zsh >/dev/null || remove_if_empty /usr/local/share/zsh{/site-functions,}
}

# Needs nothing of the program: a package calls it when its own files are gone.
remove_data() {
    # What people made by hand before there was this product is theirs.
    local adopted=/var/lib/mlflow-reconciler/adopted
    if [[ -d $adopted ]]; then
        find /var/lib/mlflow-reconciler -mindepth 1 -maxdepth 1 ! -name adopted -exec rm -rf {} +
        say "      what was adopted is kept in $adopted"
    else
        rm -rf /var/lib/mlflow-reconciler
    fi
    rm -rf /var/cache/mlflow-deploy /var/lib/mlflow-deploy \
        /var/cache/mlflow-models /var/cache/private/mlflow-models \
        /var/cache/mlflow-compiled /var/cache/private/mlflow-compiled
}

remove_users() {
    local user
    for user in "${users[@]}" mlflow-clients; do
        if getent passwd "$user" >/dev/null; then userdel "$user"; fi
        if getent group "$user" >/dev/null; then groupdel "$user"; fi
    done
}

# A person at a terminal is asked; a program has nobody who could answer, and is not.
ask_before_models_end() {
    local models=() answer=''
    [[ -t 0 && -t 1 ]] || return 0
    mapfile -t models < <(
        grep -ls "$owner_mark" /etc/systemd/system/model-*.slice | sed 's|.*/model-||; s|\.slice$||; s|\\x2d|-|g'
    )
    [[ ${#models[@]} -gt 0 ]] || return 0
    read -r -p "dev: this ends ${#models[@]} deployments and removes their files: ${models[*]}. Go on? [y/N] " answer || true
    [[ $answer == [yY]* ]] || die "not uninstalled: nothing was changed"
}

# Directories that install may have made: gone unless something else is in them or a Debian package owns them.
remove_if_empty() {
    local directory
    for directory in "$@"; do
        [[ ! -d $directory ]] || dpkg -S "$directory" >/dev/null 2>&1 || rmdir --ignore-fail-on-non-empty "$directory"
    done
}

# Units that the reconciler rendered carry its mark; nothing else in there is touched.
uninstall_deployments() {
    local unit_file unit owned=() files=()
    for unit_file in /etc/systemd/system/*; do
        if [[ ! -f $unit_file || -L $unit_file ]] || ! grep -q "$owner_mark" "$unit_file"; then continue; fi
        files+=("$unit_file")
        unit=${unit_file##*/}
        # Instances of a template are stopped by pattern.
        owned+=("${unit/@./@*.}")
    done
    [[ ${#files[@]} -gt 0 ]] || return 0
    # Bridges to NATS first: they answer what they have taken. Then sockets, or a client's next request starts the
    # service again.
    local bridges=() sockets=() others=()
    for unit in "${owned[@]}"; do
        case $unit in
        nats-bridge@*) bridges+=("$unit") ;;
        *.socket) sockets+=("$unit") ;;
        *) others+=("$unit") ;;
        esac
    done
    for unit in "${bridges[@]}" "${sockets[@]}" "${others[@]}"; do
        say "      removes $unit"
        systemctl --quiet stop "$unit" 2>/dev/null || true
        systemctl --quiet reset-failed "$unit" 2>/dev/null || true
    done
    for unit_file in "${files[@]}"; do
        systemctl --quiet disable "${unit_file##*/}" 2>/dev/null || true
        # systemd itself forgets the last of these.
        rm -rf "$unit_file" "$unit_file.d" "/run/systemd/units/log-extra-fields:${unit_file##*/}"
    done
    # Links of template instances in *.wants, and directories that held nothing else.
    find /etc/systemd/system -mindepth 2 -xtype l \( -name 'model-*' -o -name 'mlflow-*' -o -name 'nats-bridge@*' \) -delete
    find /etc/systemd/system -mindepth 1 -maxdepth 1 -type d -name '*.wants' -empty -delete
    systemctl daemon-reload
}
