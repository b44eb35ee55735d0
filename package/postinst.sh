#!/bin/sh
set -e
# dpkg says "configure", rpm the number of versions that are installed.
case ${1-} in
configure | 1 | 2)
    if [ -d /run/systemd/system ]; then
        /usr/lib/mlflow-systemd/dev install
    else
        echo "mlflow-systemd: not finished, as systemd does not run here; once it does: /usr/lib/mlflow-systemd/dev install"
    fi
    ;;
esac
