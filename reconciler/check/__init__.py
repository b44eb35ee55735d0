"""`reconciler check`: looks an installation over."""
