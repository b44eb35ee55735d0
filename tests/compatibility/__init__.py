"""Packages that models use, each with a small model: served by the whole path, judged, and measured."""
