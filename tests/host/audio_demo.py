"""`./dev demo --audio`: a model that uses librosa and soundfile, from its registration to a restart."""

from pathlib import Path

from tests.compatibility import samples
from tests.host.demo import SERVING_SECONDS, SETTINGS, Timeline, indent, installed_site, show, show_story, stay
from tests.host.host import CHECKOUT_INSIDE
from tests.system.site import SCIENTIST, Site

NAME = "voice"
MODEL = f"{CHECKOUT_INSIDE}/examples/voice/voice.py:Voice"
PACKAGES = ("mlflow", "librosa", "soundfile")
NUMBERS = ("seconds", "dB", "pauses", "seconds of pauses", "pitch in Hz")
RESTARTS = 2


def audio_demo(*, keep: bool, recording: Path | None) -> None:
    """Run the demonstration; `recording` is a WAV to ask with, a made one without it."""
    content = recording.read_bytes() if recording else samples.speech_like(0.5, 0.3, 3)
    timeline = Timeline()
    with installed_site(timeline, SETTINGS) as site:
        with timeline.step(f"{SCIENTIST}, an ordinary user, installs {', '.join(PACKAGES)} for herself"):
            python = site.scientists_python("audio", *PACKAGES)
        with timeline.step(f"version 1: {SCIENTIST} runs python3 pipeline.py with examples/voice/voice.py"):
            indent(site.pipeline("--name", NAME, "--model", MODEL, python=python, timeout=SERVING_SECONDS))
        with timeline.step("version 1: to Production, until it serves (the host builds its environment)"):
            site.registry.promote(NAME, 1)
            site.wait_for(NAME, "serving", 1, deadline=SERVING_SECONDS)
        ask(site, timeline, recording.name if recording else "a made recording", content)
        restart(site, timeline)
        ask(site, timeline, recording.name if recording else "a made recording", content)
        show(site.host, ["reconciler", "status"])
        show_story(site.host, NAME)
        timeline.show()
        if keep:
            stay(site, NAME)


def ask(site: Site, timeline: Timeline, what: str, content: bytes) -> None:
    """Send a recording as a client does, and name the numbers of the answer."""
    url = site.statuses()[NAME]["url"]
    with timeline.step(f"curl {url}/predict -F 'metadata={{}}' -F aceite=@recording.wav, with {what}"):
        answer = site.predict(NAME, {}, {"aceite": content})
        indent(f"{answer.status_code} {answer.headers['Model-Release']}: {answer.text}")
        answer.raise_for_status()
        named = zip(NUMBERS, answer.json()["output"], strict=False)
        indent(", ".join(f"{name} {number:g}" for name, number in named))


def restart(site: Site, timeline: Timeline) -> None:
    """Restart the server, and say how long each start took until the model was ready."""
    (unit,) = site.servers(NAME)
    cold = site.start_seconds(unit)
    warm = []
    for number in range(1, RESTARTS + 1):
        with timeline.step(f"systemctl restart {unit}, number {number}, until it is ready"):
            site.restart(unit)
            warm.append(site.start_seconds(unit))
    indent(
        f"the first start, which compiled everything: {cold:.1f} s; restarts: {', '.join(f'{s:.1f} s' for s in warm)}"
    )
