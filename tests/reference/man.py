"""docs/man: the man pages of the command and of its settings, in the macros of man(7)."""

from collections.abc import Iterable, Iterator

from reconciler import __version__
from reconciler.core.units import paths
from reconciler.settings.load import DEFAULT_PATH, PATH_VARIABLE
from reconciler.settings.model import ENVIRONMENT_PREFIX
from tests.reference.command import Command, Option, commands, exit_statuses, general_options, summary, verdicts
from tests.reference.settings import Section, about_the_file, sections
from tests.reference.text import roff

_SETTINGS_PAGE = "mlflow-reconciler.toml"
_VARIABLES = (
    (PATH_VARIABLE, f"The file with the settings, in place of `{DEFAULT_PATH}`. The option `--config` wins over it."),
    (
        f"{ENVIRONMENT_PREFIX}SECTION__KEY",
        f"One setting, such as `{ENVIRONMENT_PREFIX}REGISTRY__TIMEOUT`. It wins over all files.",
    ),
    ("NO_COLOR", "Where it is set, nothing is coloured. Colours are in terminals only."),
)
_FILES = (
    (str(DEFAULT_PATH), f"The settings: {_SETTINGS_PAGE}(5). Files `config.d/*.toml` beside it win over it."),
    (paths.OWN_TEMPLATES, "Templates of this host's own."),
    (paths.STATE_DIRECTORY, "What the reconciler remembers: last snapshot, ledger, pins, history, audit log."),
    (paths.DEPLOY_HOME, "Releases and environments."),
    (f"{paths.RUN_DIRECTORY}/status.json", "What `reconciler status` reads."),
    ("/run/models/NAME.sock", "The unix socket of a model."),
    (f"{paths.PRODUCT}/docs", "The documents of the installed version."),
)
_SEE_ALSO = ("journalctl", "systemctl")
_DASH = r"\-"


def command_man() -> str:
    """Write reconciler(1)."""
    return _page(
        _title("RECONCILER", 1),
        _heading("NAME"),
        f"reconciler {_DASH} {roff(summary()[0].lower() + summary()[1:].rstrip('.'))}",
        _heading("SYNOPSIS"),
        r"\fBreconciler\fR \fICOMMAND\fR [\fIOPTIONS\fR] [\fINAME\fR]",
        _heading("DESCRIPTION"),
        roff(
            "A person registers a model in MLflow and selects a version of it. The reconciler brings that version into "
            "service on this host as a systemd unit, watches it, and goes back to the version before it if it fails. "
            "Two services do that; the command shows what they do, and tells them what operators want."
        ),
        _heading("OPTIONS"),
        *_options(general_options()),
        _heading("COMMANDS"),
        *(line for one in commands() for line in _command(one)),
        _heading("EXIT STATUS"),
        *_terms(exit_statuses()),
        ".PP",
        roff("`reconciler status --check` exits as a plugin of Nagios does:"),
        *_terms(verdicts()),
        _heading("ENVIRONMENT"),
        *_terms(_VARIABLES),
        _heading("FILES"),
        *_terms(_FILES),
        _heading("SEE ALSO"),
        ", ".join((_other(_SETTINGS_PAGE, 5), *(_other(name, 1) for name in _SEE_ALSO))),
    )


def settings_man() -> str:
    """Write mlflow-reconciler.toml(5)."""
    return _page(
        _title("MLFLOW-RECONCILER.TOML", 5),
        _heading("NAME"),
        rf"{roff(_SETTINGS_PAGE)} {_DASH} settings of the reconciler and of the registry agent",
        _heading("SYNOPSIS"),
        ".nf",
        rf"\fI{roff(str(DEFAULT_PATH))}\fR",
        rf"\fI{roff(str(DEFAULT_PATH.with_name('config.d')))}/*.toml\fR",
        ".fi",
        _heading("DESCRIPTION"),
        roff(f"{about_the_file()} `docs/` is `{paths.PRODUCT}/docs`."),
        *(line for section in sections() for line in _section(section)),
        _heading("SEE ALSO"),
        f"{_other('reconciler', 1)}, {_other('systemd.exec', 5)}",
    )


def _page(*lines: str) -> str:
    head = r'.\" Made from the code: "python -m tests.reference" writes this page. Change the code.'
    return "\n".join((head, *lines)) + "\n"


def _title(name: str, section: int) -> str:
    # Neither hyphens in what people copy nor wide gaps between words.
    return f'.TH {roff(name)} {section} "" "mlflow\\-systemd {__version__}"\n.nh\n.ad l'


def _heading(text: str) -> str:
    return f".SH {text}"


def _other(name: str, section: int) -> str:
    return rf"\fB{roff(name)}\fR({section})"


def _terms(terms: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, about in terms:
        yield ".TP"
        yield rf"\fB{roff(term)}\fR"
        yield roff(about)


def _options(options: tuple[Option, ...]) -> Iterator[str]:
    return _terms((one.typed, one.about) for one in options)


def _command(one: Command) -> Iterator[str]:
    yield f".SS {roff(one.usage)}"
    for number, paragraph in enumerate(one.about):
        if number:
            yield ".PP"
        yield roff(paragraph)
    yield from _options(one.options)


def _section(section: Section) -> Iterator[str]:
    yield f'.SH "[{section.name}]"'
    yield roff(section.about)
    for group in section.groups:
        for key in group.keys:
            yield ".TP"
            yield rf"\fB{roff(key.name)}\fR = {roff(key.default)}"
            tag = f" The tag `deploy.{key.name}` may change it for one model." if key.tag else ""
            yield roff(f"Takes {key.wanted}.{tag}")
        yield ".IP"
        yield roff(group.about)
