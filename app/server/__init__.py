"""How the service is served: gunicorn's worker and parser, and the probe server of the stand-alone dispatcher."""
