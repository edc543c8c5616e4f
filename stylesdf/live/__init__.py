"""Heads that live in a web page: one file, no server, see ``stylesdf.live.export``."""
