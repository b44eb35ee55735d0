"""Libraries that compile while they run: they may, and what they compiled is there again after a restart."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.compatibility.cases import AS_REPORTED
from tests.host import Layers, Registry, installed_host
from tests.system.conftest import SETTINGS
from tests.system.site import Site, code
from tests.system.test_trust import exposure

pytestmark = [pytest.mark.system, pytest.mark.exhaustive, pytest.mark.timeout(900)]

KEPT = "/var/cache/private/mlflow-compiled"
POLICY = """
[policy]
tags = ["environment", "replicas", "executable_memory", "compile_cache"]
"""
REQUIREMENTS = ["mlflow-skinny", "pandas", *AS_REPORTED.packages]

# numba compiles at the first call, and has a cache of its own. Asked for it, the model tells what numba had to compile,
# and loads a library from where others put what they compile.
COMPILING = """
import ctypes, glob, os, shutil

import mlflow
from mlflow.pyfunc import PythonModel

try:
    import numba
    compiled = numba.njit(cache=True)
except ImportError:  # where it is logged
    compiled = lambda function: function

@compiled
def total(n):
    found = 0.0
    for i in range(n):
        found += i * 0.5
    return found

def loads_a_library():
    place = os.path.join(os.environ["TORCHINDUCTOR_CACHE_DIR"], "made.so")
    os.makedirs(os.path.dirname(place), exist_ok=True)
    shutil.copy(glob.glob("/usr/lib/*/libm.so.6")[0], place)
    library = ctypes.CDLL(place)
    library.sqrt.restype, library.sqrt.argtypes = ctypes.c_double, [ctypes.c_double]
    return library.sqrt(9.0)

class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        if model_input[0].get("ask") == "stats":
            counts = total.stats.cache_hits, total.stats.cache_misses
            return ([float(sum(of_each.values())) for of_each in counts] + [float(os.getpid())], "negative")
        if model_input[0].get("ask") == "library":
            return ([loads_a_library()], "negative")
        return ([total(1000)], "negative")

mlflow.models.set_model(Model())
"""
# A model whose module needs what is installed for the model alone.
REPORTED = code(
    on_load=f"import {AS_REPORTED.file.stem}; self.model = {AS_REPORTED.file.stem}.Model()",
    on_predict="return self.model.predict(context, model_input)",
)
# Fills the place for what is compiled, and tells how much went in (MiB).
GREEDY = """
import os

import mlflow
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        os.makedirs(os.environ["NUMBA_CACHE_DIR"], exist_ok=True)
        written = 0
        with open(os.path.join(os.environ["NUMBA_CACHE_DIR"], "greed"), "wb") as file:
            try:
                while written < 64:
                    file.write(bytes(1024**2))
                    file.flush()
                    written += 1
            except OSError:
                pass
        return ([float(written)], "negative")

mlflow.models.set_model(Model())
"""
EXAMPLE: dict[str, Any] = {
    "request.json": {"schema": 1, "metadata": {}, "parts": {}},
    "response.json": {"output": [249750.0], "diagnosis": "negative"},
}


def compiling(name: str, **settings: str) -> dict[str, Any]:
    """Describe a model that compiles."""
    chosen = {"environment": "model", **settings}
    return {"name": name, "code": COMPILING, "requirements": REQUIREMENTS, "replay": EXAMPLE, "settings": chosen}


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site with models that compile."""
    with installed_host(image, "compiled", settings=SETTINGS + POLICY) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Site(host, registry)
        greedy = {"name": "greedy", "code": GREEDY, "settings": {"environment": "host", "compile_cache": "16M"}}
        reported = {
            "name": "reported",
            "code": REPORTED,
            "modules": {AS_REPORTED.file.name: AS_REPORTED.file.read_text()},
            "requirements": REQUIREMENTS,
            "settings": {"environment": "model"},
        }
        tight = {"name": "tight", "code": code(), "settings": {"environment": "host", "executable_memory": "false"}}
        site.serve(compiling("numeric", replicas="2"), reported, greedy, tight, deadline=600)
        site.register(compiling("locked", executable_memory="false"))
        yield site


def ask(site: Site, name: str, what: str = "") -> list[float]:
    """Ask a model; gives its numbers."""
    answer = site.predict(name, {"ask": what} if what else {}, {})
    assert answer.status_code == 200, answer.text
    numbers: list[float] = answer.json()["output"]
    return numbers


def test_a_second_server_and_a_restart_use_what_the_first_start_compiled(site: Site) -> None:
    """Numba says how often it found what it needed, and how often it had to compile."""
    assert ask(site, "numeric") == [249750.0]
    counts: dict[float, tuple[float, float]] = {}

    def both_asked() -> bool | None:
        hits, misses, process = ask(site, "numeric", "stats")
        counts[process] = (hits, misses)
        return len(counts) == 2 or None

    site.host.wait_for(both_asked, 60, "an answer of each of the two servers")
    assert sorted(counts.values()) == [(0.0, 1.0), (1.0, 0.0)]

    site.restart(site.servers("numeric")[0])
    counts.clear()
    site.host.wait_for(both_asked, 60, "an answer of each of the two servers")
    assert set(counts.values()) == {(1.0, 0.0)}


def test_what_a_model_made_can_be_loaded(site: Site) -> None:
    """As torch.compile and Triton do with the libraries that they build."""
    assert ask(site, "numeric", "library") == [3.0]


def test_libraries_that_make_code_while_they_run_answer_rightly(site: Site) -> None:
    """numba, soundfile in memory, a figure, a callback of ctypes; also after a restart."""
    for restarted in (False, True):
        if restarted:
            (unit,) = site.servers("reported")
            site.restart(unit)
        assert AS_REPORTED.is_right(ask(site, "reported"))


def test_the_place_for_it_is_limited(site: Site) -> None:
    """A model gets as much as the setting says, and is not killed for wanting more."""
    (written,) = ask(site, "greedy")
    assert 8 <= written <= 16


def test_only_the_release_itself_sees_what_was_kept(site: Site) -> None:
    """It is a file that nobody may change, in a directory that only root may enter."""
    first = site.servers("numeric")[0].removesuffix(".service")
    (kept,) = site.host.output(f"ls {KEPT}/*.{first}/compiled.zip").split()
    assert site.host.output(["stat", "--format=%a", kept]) == "444"
    assert site.host.run(["cat", kept], user="ada", check=False).returncode != 0
    # The greedy one had compiled nothing when it was ready.
    assert "greedy" not in site.host.output(f"ls {KEPT}")


def test_a_host_that_allows_no_executable_memory_says_so(site: Site) -> None:
    """In words for the data scientist, who sees them in the tag."""
    site.registry.promote("locked", 1)
    status = site.wait_for("locked", "failed", 1)
    assert "this host does not let models run code that they make" in status["message"]
    assert "ask its operators for deploy.executable_memory" in status["message"]


def test_a_sandbox_without_executable_memory_is_a_little_tighter(site: Site) -> None:
    """systemd's own judgement of the running units; and the status tells the two apart."""
    usual, tight = (exposure(site, site.servers(name)[0]) for name in ("numeric", "tight"))
    assert tight <= usual <= round(tight + 0.1, 1) <= 0.5
    told = "it may not run code that it makes (deploy.executable_memory)"
    assert [told in site.statuses()[name]["message"] for name in ("numeric", "tight")] == [False, True]


def test_what_was_kept_goes_with_the_release(site: Site) -> None:
    """And so do the units."""
    site.demote("numeric", "locked")
    site.demote("greedy", "tight")
    site.demote("reported")
    assert site.host.output(f"find {KEPT} /var/cache/mlflow-compiled -mindepth 1").split() == []
    assert "mlflow-compiled@" not in site.host.output("systemctl list-units --all 'mlflow-compiled@*' --no-legend")
