"""The web application, put together from its parts."""

from flask import Flask

from app.api.access_control import AccessControl
from app.api.access_log import log_requests
from app.api.problems import answer_with_problems
from app.api.request_ids import RequestIds
from app.api.request_metrics import count_requests
from app.api.routes.health import health_blueprint
from app.api.routes.jobs import RestOfPath, jobs_blueprint
from app.api.routes.logs import logs_blueprint
from app.api.routes.metrics import metrics_blueprint
from app.api.routes.openapi import openapi_blueprint
from app.api.routes.runs import runs_blueprint
from app.api.routes.status import status_blueprint
from app.auth.authorizer import Authorizer, TrustRules
from app.auth.identities import Identities
from app.auth.tokens import Account
from app.common.concurrency_limiter import MAX_LOOKUPS, MAX_READS, MAX_WAITING_LOOKUPS, ConcurrencyLimiter
from app.health import Health
from app.kube.credentials import ClusterSettingsError
from app.runs.cancel import Canceller
from app.runs.definition_status import DefinitionStatuses
from app.runs.logs.reader import LogReader
from app.runs.reader import RunReader
from app.runs.submit import Submitter
from app.runs.waiting import RunWaiter
from app.runtime import Runtime, build_runtime
from app.settings import Settings, SettingsError
from schemas.faults import Refused


def create_app(settings: Settings | None = None) -> Flask:
    """Build the web application.

    Args:
        settings: `None`: read them from the environment.

    Raises:
        SystemExit: the settings or the job configuration are invalid; the message names every fault.
    """
    try:
        runtime = build_runtime(settings or Settings.from_environment())
    except Refused as refusal:
        raise SystemExit("\n".join(["the job configuration is faulty:", *map(str, refusal.faults)])) from refusal
    except (SettingsError, ClusterSettingsError) as error:
        raise SystemExit(str(error)) from error
    app = _make_flask()
    # The rest of a path is the caller's data. It reaches the run as it was sent, not tidied up by a redirect.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    app.url_map.converters["rest"] = RestOfPath
    app.extensions["slimfaas-jobs"] = runtime
    _add_job_routes(app, runtime)
    _add_probe_routes(app, runtime)
    return app


def create_probe_app(runtime: Runtime) -> Flask:
    """Build what a process serves that only dispatches: the probes and the metrics, as a web worker does."""
    app = _make_flask()
    _add_probe_routes(app, runtime)
    return app


def _make_flask() -> Flask:
    """Build an application without routes whose requests have an id, are logged and counted, and fail as problems."""
    app = Flask("slimfaas-jobs", static_folder=None)
    app.config.update(PROVIDE_AUTOMATIC_OPTIONS=False)
    app.wsgi_app = RequestIds(app.wsgi_app)  # type: ignore[method-assign] # Flask's documented way to add middleware
    answer_with_problems(app)
    log_requests(app)
    count_requests(app)
    return app


def _add_job_routes(app: Flask, runtime: Runtime) -> None:
    client, registry = runtime.client, runtime.registry
    calls = ConcurrencyLimiter()
    reads = ConcurrencyLimiter(MAX_READS, within=calls, name="reads")
    lookups = ConcurrencyLimiter(MAX_LOOKUPS, within=calls, max_waiting=MAX_WAITING_LOOKUPS, name="lookups")
    access_control = _make_access_control(runtime, lookups)
    runs = RunReader(client, registry.slots)
    waiter = RunWaiter(client, runs, runtime.long_requests)
    submitter, canceller = Submitter(client, runtime.queues), Canceller(client, runs)
    log_reader = LogReader(client, runs, runtime.long_requests)
    statuses = DefinitionStatuses(client, registry.all)
    app.register_blueprint(jobs_blueprint(access_control, submitter, waiter, calls))
    app.register_blueprint(runs_blueprint(access_control, runs, canceller, waiter, reads))
    app.register_blueprint(logs_blueprint(access_control, log_reader, reads))
    app.register_blueprint(status_blueprint(access_control, statuses, reads))
    app.register_blueprint(openapi_blueprint())


def _add_probe_routes(app: Flask, runtime: Runtime) -> None:
    health = Health(runtime.client, runtime.dispatcher)
    app.register_blueprint(health_blueprint(health, runtime.dispatcher_state, lambda: runtime.config_watcher.state))
    app.register_blueprint(metrics_blueprint(runtime.registry, hide_private=runtime.settings.hide_private))


def _make_access_control(runtime: Runtime, lookups: ConcurrencyLimiter) -> AccessControl:
    settings = runtime.settings
    rules = TrustRules(
        networks=settings.trusted_networks,
        proxies=settings.trusted_proxies,
        accounts=tuple(Account(namespace, name) for namespace, name in settings.trusted_service_accounts),
    )
    authorizer = Authorizer(rules, Identities(runtime.client, settings.token_audience, lookups))
    return AccessControl(runtime.registry, authorizer, hide_private=settings.hide_private)
