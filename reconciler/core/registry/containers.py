"""What a release in containers may be asked for, and how it has to be rolled out."""

from dataclasses import replace

from reconciler.core.state.release import COMPOSE, Refused, Release


def fit_for_containers(release: Release, *, has_image: bool, asks_itself: bool) -> Release | Refused:
    """Return a release as it runs on this host in containers, or why it cannot.

    `has_image`: the host's settings name an image or a base. `asks_itself`: that image takes its requests from a broker
    by itself. Two releases that do so at once would answer requests twice, so one ends before the other starts.
    """
    if release.parameters.runtime != COMPOSE:
        return release
    if not has_image:
        return _refused(release, "nobody said of which image", "set compose.image or compose.base on the host")
    opened = release.parameters.opened
    if opened:
        # Of a container, these would be promises that nobody keeps.
        return _refused(release, f"it asks for {opened}", "a container has the network that compose.network says")
    if not asks_itself:
        return release
    if release.parameters.idle_timeout:
        why = "it has no requests over HTTP, and would be taken for idle"
        return _refused(release, why, "set deploy.idle_timeout to 0")
    return replace(release, rollout=replace(release.rollout, strategy="recreate", replicas=1))


def _refused(release: Release, why: str, mend: str) -> Refused:
    sentence = f"cannot run version {release.version} of {release.name} in containers: {why}; {mend}"
    return Refused(release.name, release.version, sentence)
