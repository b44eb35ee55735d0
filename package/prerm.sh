#!/bin/sh
set -e
# dpkg says "remove", rpm how many versions are left. An upgrade ends nothing: models serve on, and the new version takes
# over from the former one.
case ${1-} in
remove | 0)
    if [ -d /run/systemd/system ]; then
        /usr/lib/mlflow-systemd/dev uninstall --keep-data --yes
    fi
    ;;
esac
