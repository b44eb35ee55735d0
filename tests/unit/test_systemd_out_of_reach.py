"""A machine where systemd does not answer, such as a container: the message is a sentence."""

from unittest import mock

import pytest
from gi.repository import Gio, GLib

from reconciler.adapters import systemd_dbus
from reconciler.ports.systemd import SystemdError


def test_a_missing_system_bus_is_said_in_a_sentence() -> None:
    """The first call of every command that asks systemd, without a bus."""
    nobody = GLib.Error.new_literal(Gio.io_error_quark(), "Could not connect", Gio.IOErrorEnum.NOT_FOUND)
    with (
        mock.patch.object(systemd_dbus, "SystemBus", side_effect=nobody),
        pytest.raises(SystemdError, match=r"^cannot reach the system bus: Could not connect$"),
    ):
        systemd_dbus.SystemdOverDbus(timeout=1)
