"""Wheels whose authors mean harm: files in every place and of every name that could have something of them run."""

import importlib.util
import marshal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.steps import wheels

INFO, DATA = "hostile-1.0.dist-info", "hostile-1.0.data"
EVIL = f"{DATA}/data/evil"
LIBRARY = (
    *("os.py", "site.py", "compileall.py", "py_compile.py", "encodings/__init__.py", "sitecustomize.py", "runpy.py"),
    *("codecs.py", "io.py", "concurrent/futures/process.py", "multiprocessing/__init__.py"),
)
SCHEMES = ("purelib/", "platlib/", "data/", "scripts/", "headers/", "what/", "data/data/", "")
PROGRAMS = ("python", "python3", "Python", "pip", "uv", "sh", "compileall", "activate", "sync", "rm", "a b", "../x", "")


def telling(marker: Path) -> str:
    """Python that makes a file when it runs, wherever it is imported, as the first module of all too."""
    return f"import posix; posix.close(posix.open({str(marker)!r}, posix.O_CREAT | posix.O_WRONLY))\n"


def library_of(prefix: str, marker: Path, minor: str) -> dict[str, str | bytes]:
    """A library of Python's own, for interpreters that take it for theirs."""
    return {f"{prefix}/lib/python{minor}/{module}": telling(marker) for module in LIBRARY}


@dataclass
class Wheel:
    """What one of them has in it, and what it is made to harm."""

    random: Random
    marker: Path
    """A file that exists once any code of it ran."""
    state: Path
    """Where it will be built: it can be worked out from the requirements."""
    others: Path
    """Something that is not its own."""
    minor: str
    files: dict[str, str | bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    entry_points: list[str] = field(default_factory=list)
    record: str | None = None
    tricks: list[str] = field(default_factory=list)

    @property
    def code(self) -> str:
        """Python that tells that it ran."""
        return telling(self.marker)

    @property
    def script(self) -> str:
        """The same for a shell."""
        return f"#!/bin/sh\n: >{self.marker}\n"

    def add_to(self, house: Path) -> None:
        """Write it into a wheelhouse."""
        if self.entry_points:
            lines = "".join(f"{name} = hostile:main\n" for name in self.entry_points)
            group = self.random.choice(("console_scripts", "gui_scripts"))
            self.files[f"{INFO}/entry_points.txt"] = f"[{group}]\n{lines}"
        wheels.wheel(house, "hostile", "1.0", files=self.files, links=self.links, record=self.record)


def configuration(wheel: Wheel) -> None:
    """Another pyvenv.cfg, which says where Python has its own library: in the wheel."""
    place = wheel.random.choice(("data/", "data/", "data/", "scripts/", "data/bin/", "purelib/../../../../"))
    home = wheel.random.choice(("evil/bin", f"{wheel.state}/venv.new/evil/bin", "venv.new/evil/bin", "/usr/bin"))
    wheel.files[f"{DATA}/{place}pyvenv.cfg"] = f"home = {home}\ninclude-system-site-packages = true\n"
    wheel.files |= library_of(EVIL, wheel.marker, wheel.minor)
    wheel.files[f"{EVIL}/bin/python{wheel.minor}"] = wheel.script


def interpreter(wheel: Wheel) -> None:
    """A program in the place of the interpreter."""
    place = wheel.random.choice(("scripts", "data/bin", "data/lib64/../bin"))
    name = wheel.random.choice(("python", "python3", f"python{wheel.minor}", "python3.99", "pythonw", "python._pth"))
    wheel.files[f"{DATA}/{place}/{name}"] = wheel.random.choice((wheel.script, wheel.code, f"#!python\n{wheel.code}"))


def library(wheel: Wheel) -> None:
    """A module where Python has its own library, or where it could be taken for one of it."""
    places = [f"data/lib/python{wheel.minor}/", f"data/lib64/python{wheel.minor}/", "purelib/", "platlib/", "data/"]
    places += [f"data/lib/python{wheel.minor}/site-packages/", f"data/lib/python{wheel.minor}/lib-dynload/"]
    places += ["data/lib/python3.0/", "data/lib/python3.0/site-packages/", "data/usr/lib/python3/", "scripts/"]
    place = wheel.random.choice(places)
    for module in wheel.random.sample(LIBRARY, 4):
        wheel.files[f"{DATA}/{place}{module}"] = wheel.code


def started_by_site(wheel: Wheel) -> None:
    """What an interpreter runs by itself once it looks at the packages."""
    wheel.files |= {"sitecustomize.py": wheel.code, "usercustomize.py": wheel.code, "hostile.pth": wheel.code}
    wheel.files |= {f"{module}": wheel.code for module in wheel.random.sample(LIBRARY, 3)}


def links_of_the_environment(wheel: Wheel) -> None:
    """A file, or a directory, where the environment has a link or a directory."""
    name = wheel.random.choice(("lib64", "lib", "bin", "lib64/lib64", f"lib/python{wheel.minor}", "include"))
    wheel.files[f"{DATA}/data/{name}"] = wheel.code


def activation(wheel: Wheel) -> None:
    """Other scripts in the place of those that people start an environment with."""
    names = ("bin/activate", "bin/activate.fish", "bin/activate_this.py", "bin/pydoc.bat", ".gitignore", "CACHEDIR.TAG")
    for name in wheel.random.sample(names, 2):
        wheel.files[f"{DATA}/data/{name}"] = wheel.script


def ways_out(wheel: Wheel) -> None:
    """Paths that lead out of the environment."""
    scheme = wheel.random.choice(SCHEMES)
    up = wheel.random.choice(("../" * 6, str(wheel.others) + "/", "../../cache/", "..\\..\\", "./../../../", "/"))
    wheel.files[f"{DATA}/{scheme}{up}escaped.py"] = wheel.code
    wheel.files[f"{up}tiny/__init__.py"] = wheel.code


def linked(wheel: Wheel) -> None:
    """Symbolic links, which a zip archive can hold."""
    targets = (str(wheel.others), f"{wheel.others}/venv/bin/python", "/etc/passwd", "..", "/proc/self/fd/1", "cache")
    names = ("hostile/__pycache__", "hostile/link.py", "modelserver", f"{DATA}/data/bin/python", f"{DATA}/data/lib64")
    wheel.links[wheel.random.choice((*names, f"{DATA}/data/pyvenv.cfg"))] = wheel.random.choice(targets)


def odd_names(wheel: Wheel) -> None:
    """Names that few programs expect."""
    names = ["a\nb.py", "\u202egnp.py", "é.py", "e\u0301.py", "-rf", " ", "a" * 250 + ".py", "a" * 300 + ".py", "%s.py"]
    names += [
        "d/" * 150 + "x.py",
        "d/" * 900 + "x.py",
        "*.py",
        "$(id).py",
        "CON.py",
        "x.py.",
        "x.PY",
        "\x7f.py",
        "a,b.py",
    ]
    for name in wheel.random.sample(names, 3):
        wheel.files[f"hostile/{name}"] = wheel.code


def programs(wheel: Wheel) -> None:
    """Entry points that are called like programs that a build starts."""
    wheel.entry_points += wheel.random.sample(PROGRAMS, wheel.random.randint(1, 3))


def false_records(wheel: Wheel) -> None:
    """A list of files that is not that of the wheel."""
    lies = [
        "",
        "../../../pyvenv.cfg,,\n",
        "hostile/__init__.py,sha256=AAAA,3\n",
        "/etc/passwd,,\n",
        '"',
        "\x00",
        ",,,\n",
    ]
    wheel.record = "".join(wheel.random.sample(lies, 3))


def false_information(wheel: Wheel) -> None:
    """Information about itself, or about another package, that is not true."""
    files = {f"{INFO}/INSTALLER": "pip", f"{INFO}/direct_url.json": '{"url": "file:///"}', f"{INFO}/REQUESTED": ""}
    files |= {
        "tiny-9.0.dist-info/METADATA": "Name: tiny\n",
        f"{INFO}/uv_cache.json": "{}",
        f"{INFO}/METADATA": "Name: tiny",
    }
    files |= {f"{DATA}/purelib/tiny-9.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 9.0\n"}
    name = wheel.random.choice(sorted(files))
    wheel.files[name] = files[name]


def bytecode(wheel: Wheel) -> None:
    """Bytecode that says something else than its source, and is not compared with it."""
    header = importlib.util.MAGIC_NUMBER + wheel.random.choice((b"\1\0\0\0", b"\0\0\0\0")) + bytes(8)
    compiled = header + marshal.dumps(compile(wheel.code, "x", "exec"))
    tag = f"cpython-{wheel.minor.replace('.', '')}"
    wheel.files[f"hostile/__pycache__/__init__.{tag}.pyc"] = compiled
    wheel.files[wheel.random.choice(("compileall.pyc", f"__pycache__/compileall.{tag}.pyc", "os.pyc"))] = compiled


def others_files(wheel: Wheel) -> None:
    """Files of the packages beside it."""
    for name in wheel.random.sample(("tiny", "starlette", "uvicorn", "modelserver", "multipart"), 2):
        wheel.files[f"{name}/__init__.py"] = wheel.code


def hard_to_compile(wheel: Wheel) -> None:
    """Sources on which a compiler chokes, or that would have it look for a module to read them with."""
    sources: list[str | bytes] = ["(" * 5000, "\0", "x = " + "9" * 5000, b"\xff\xfe", "# coding: hostile\n", "-" * 5000]
    sources += ["# coding: hex\n", f"# coding: ../../{wheel.others}\n", "if 1:\n" * 200, "a" * 100_000, "()" * 20_000]
    for number, source in enumerate(wheel.random.sample(sources, 3)):
        wheel.files[f"hostile/hard{number}.py"] = source
    wheel.files["hostile.py"] = wheel.files["encodings/hostile.py"] = wheel.code


TRICKS: tuple[Callable[[Wheel], None], ...] = (
    *(configuration, interpreter, library, started_by_site, links_of_the_environment, activation, ways_out, linked),
    *(odd_names, programs, false_records, false_information, bytecode, others_files, hard_to_compile),
)


def hostile(seed: int, marker: Path, state: Path, others: Path, minor: str) -> Wheel:
    """Make up the wheel of a seed: every trick comes in turn, half of the time with others beside it."""
    random = Random(seed)  # noqa: S311 - not a secret
    wheel = Wheel(random, marker, state, others, minor)
    chosen = {TRICKS[seed % len(TRICKS)], *random.sample(TRICKS, random.choice((0, 0, 1, 2)))}
    for trick in TRICKS:
        if trick in chosen:
            trick(wheel)
            wheel.tricks.append(trick.__name__)
    return wheel
