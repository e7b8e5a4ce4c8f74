"""SlimFaas Jobs: starts Kubernetes Jobs over HTTP, when their dependencies are ready and a slot is free."""

from flask import Flask

from app.api.audit import audit
from app.api.door import Door
from app.api.health import health_blueprint
from app.api.jobs import RestOfPath, jobs_blueprint
from app.api.logs import logs_blueprint
from app.api.metering import meter
from app.api.metrics import metrics_blueprint
from app.api.openapi import openapi_blueprint
from app.api.problems import answer_with_problems
from app.api.request_ids import RequestIds
from app.api.runs import runs_blueprint
from app.api.status import status_blueprint
from app.cluster.credentials import ClusterSettingsError
from app.service import Service, build_service
from app.services.callers import Callers, Rules
from app.services.cancel import Canceller
from app.services.gate import LOOKUPS_AT_ONCE, READS_AT_ONCE, Gate
from app.services.health import Health
from app.services.identities import Identities
from app.services.logs import Logs
from app.services.overview import Overview
from app.services.runs import Runs
from app.services.submit import Submitter
from app.services.tokens import Account
from app.services.waiting import Waits
from app.settings import Settings, SettingsError
from schemas.faults import Refused


def create_app(settings: Settings | None = None) -> Flask:
    """Put the web application together.

    Args:
        settings: `None`: those of the environment.

    Raises:
        SystemExit: the settings or the configuration are faulty; the message names every fault.
    """
    try:
        service = build_service(settings or Settings.from_environment())
    except Refused as refusal:
        raise SystemExit("\n".join(["the job configuration is faulty:", *map(str, refusal.faults)])) from refusal
    except (SettingsError, ClusterSettingsError) as error:
        raise SystemExit(str(error)) from error
    return _compose(service)


def _compose(service: Service) -> Flask:
    app = _make_flask()
    # A path is the caller's data: it reaches the run as it was sent, not tidied up by a redirect.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    app.url_map.converters["rest"] = RestOfPath
    app.extensions["slimfaas-jobs"] = service
    gate = Gate()
    reads = Gate(READS_AT_ONCE, within=gate, name="reads")
    door = _build_door(service, Gate(LOOKUPS_AT_ONCE, within=gate, name="lookups"))
    runs = Runs(service.namespace, service.catalogue)
    waits = Waits(service.namespace, runs, service.streams)
    app.register_blueprint(jobs_blueprint(door, Submitter(service.namespace, service.queues), waits, gate))
    app.register_blueprint(runs_blueprint(door, runs, Canceller(service.namespace, runs), waits, reads))
    app.register_blueprint(logs_blueprint(door, Logs(service.namespace, runs, service.streams), reads))
    app.register_blueprint(openapi_blueprint())
    app.register_blueprint(status_blueprint(door, Overview(service.namespace, service.catalogue), reads))
    _add_probes(app, service)
    return app


def create_probe_app(service: Service) -> Flask:
    """Put together what a process answers that only dispatches: the probes and the metrics, as a web worker does."""
    app = _make_flask()
    _add_probes(app, service)
    return app


def _make_flask() -> Flask:
    """An application without routes, in which every call has an id, is logged and counted, and fails in one form."""
    app = Flask("slimfaas-jobs", static_folder=None)
    app.config.update(PROVIDE_AUTOMATIC_OPTIONS=False)
    app.wsgi_app = RequestIds(app.wsgi_app)  # type: ignore[method-assign] # Flask's own way to put something around
    answer_with_problems(app)
    audit(app)
    meter(app)
    return app


def _add_probes(app: Flask, service: Service) -> None:
    health = Health(service.namespace, service.dispatcher)
    app.register_blueprint(health_blueprint(health, service.dispatcher_state, lambda: service.configuration.state))
    app.register_blueprint(metrics_blueprint(service.catalogue, hide_private=service.settings.hide_private))


def _build_door(service: Service, gate: Gate) -> Door:
    settings = service.settings
    rules = Rules(
        networks=settings.trusted_networks,
        proxies=settings.trusted_proxies,
        accounts=tuple(Account(namespace, name) for namespace, name in settings.trusted_service_accounts),
    )
    callers = Callers(rules, Identities(service.namespace, settings.token_audience, gate))
    return Door(service.catalogue, callers, hide_private=settings.hide_private)
