# shellcheck shell=bash
# The end of the script that purges; package/build.sh puts before it what it calls.
# shellcheck disable=SC2154

if [[ ${1-} == purge ]]; then
    remove_data
    rm -rf "$settings"
    remove_users
fi
