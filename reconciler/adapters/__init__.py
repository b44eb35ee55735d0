"""The only modules that talk to systemd, MLflow and the kernel's file events."""
