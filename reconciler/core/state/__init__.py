"""What is known and remembered: releases, snapshots, the ledger, the history, the status."""
