"""Fills a registry's database with as many models as a hospital group has, faster than by its API."""

import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

FIRST = "m0000"
IN_PRODUCTION = 24
_TABLES = ("registered_models", "model_versions", "registered_model_tags", "model_version_tags")


def fill(client: Any, place: Path, models: int) -> None:
    """Make `models` models of two versions, of which the first ones are in Production; the registry has none yet."""
    client.create_registered_model(FIRST, tags={"team": "voice"}, description="a model")
    for number in (1, 2):
        client.create_model_version(FIRST, f"s3://bucket/models/m-0123456789abcdef/{number}", tags={"owner": "ada"})
    with closing(sqlite3.connect(place / "mlflow.db")) as database, database:
        for table in _TABLES:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            others = ", ".join(column for column in columns if column != "name")
            database.execute(
                f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?) "  # noqa: S608 - names of columns
                f"INSERT INTO {table} (name, {others}) SELECT printf('m%04d', n), {others} FROM numbers, {table} "
                "WHERE name = ?",
                (models - 1, FIRST),
            )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*stages.*")
        for number in range(min(IN_PRODUCTION, models)):
            client.transition_model_version_stage(f"m{number:04d}", "2", "Production")
