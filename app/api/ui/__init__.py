"""The files of the page at `/ui`: plain HTML, CSS and ES modules, served as they are (docs/adr/0026-the-page.md)."""
