"""Renders the objects of a cluster from templates, as the units of a host are."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reconciler.apply.render import RenderError
from reconciler.core.cluster import labels
from reconciler.core.cluster.actions import Apply
from reconciler.core.text.quote import Quoted, one_line, safe_token


class ManifestRenderer:
    """A template of the host's own replaces the product's template of the same name."""

    def __init__(self, directories: Sequence[Path]) -> None:
        """Look templates up in `directories`, first match wins."""
        self._templates = Environment(
            loader=FileSystemLoader(directories),
            undefined=StrictUndefined,
            autoescape=False,  # noqa: S701 - manifests are not HTML; the next line is to them what escaping is to HTML
            finalize=safe_token,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["json"] = _as_json
        self._templates.cache = None  # one of the host's own may appear at any time; there are few objects

    def render(self, action: Apply, namespace: str) -> dict[str, Any]:
        """Render an object, with the labels and annotations that all of ours have. Raises RenderError."""
        try:
            text = self._templates.get_template(action.template).render(action.values)
            manifest = yaml.safe_load(text)
            json.dumps(manifest)  # YAML has more than the API: dates, sets, keys that are no texts
        except Exception as error:  # a template may raise anything
            raise RenderError(
                f"cannot render {action.unit} from {action.template}: {one_line(str(error), 500)}; mend the template"
            ) from error
        rendered = f"{manifest['kind']}/{manifest['metadata']['name']}" if _is_object(manifest) else "no object"
        if rendered != action.unit:
            raise RenderError(f"cannot render {action.unit}: {action.template} makes {rendered}; mend the template")
        metadata = manifest["metadata"]
        metadata["namespace"] = namespace
        metadata["labels"] = {
            **(metadata.get("labels") or {}),
            "app.kubernetes.io/managed-by": labels.MANAGER,
            labels.DEPLOYMENT: action.deployment,
        }
        metadata["annotations"] = {**(metadata.get("annotations") or {}), labels.RENDERED_FROM: action.digest}
        return dict(manifest)


def _is_object(manifest: object) -> bool:
    return isinstance(manifest, dict) and isinstance(manifest.get("metadata"), dict) and "name" in manifest["metadata"]


def _as_json(value: object) -> Quoted:
    """Write any value so that YAML reads it as it is: JSON is YAML."""
    return Quoted(json.dumps(value))
