"""Assembles the web application: services, routes and middleware."""

from flask import Flask

from app.api.access_control import AccessControl
from app.api.access_log import log_requests
from app.api.problems import register_problem_handler
from app.api.request_ids import RequestIdMiddleware
from app.api.request_metrics import count_requests
from app.api.routes.health import health_blueprint
from app.api.routes.jobs import PathRemainder, jobs_blueprint
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
        settings: the settings; `None`: read them from the environment.

    Raises:
        SystemExit: the settings or the job configuration are invalid; the message names every error.
    """
    try:
        runtime = build_runtime(settings or Settings.from_environment())
    except Refused as refusal:
        raise SystemExit("\n".join(["the job configuration is faulty:", *map(str, refusal.faults)])) from refusal
    except (SettingsError, ClusterSettingsError) as error:
        raise SystemExit(str(error)) from error
    app = _make_flask()
    # The path after the definition's name is data for the run, so no redirect may normalize it.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    app.url_map.converters["rest"] = PathRemainder
    app.extensions["slimfaas-jobs"] = runtime
    _add_job_routes(app, runtime)
    _add_probe_routes(app, runtime)
    return app


def create_probe_app(runtime: Runtime) -> Flask:
    """Build the application of a process that only dispatches: the probes and the metrics."""
    app = _make_flask()
    _add_probe_routes(app, runtime)
    return app


def _make_flask() -> Flask:
    """Build an application without routes, with request ids, an access log, metrics and problem documents."""
    app = Flask("slimfaas-jobs", static_folder=None)
    app.config.update(PROVIDE_AUTOMATIC_OPTIONS=False)
    app.wsgi_app = RequestIdMiddleware(app.wsgi_app)  # type: ignore[method-assign] # as Flask documents
    register_problem_handler(app)
    log_requests(app)
    count_requests(app)
    return app


def _add_job_routes(app: Flask, runtime: Runtime) -> None:
    client, registry = runtime.client, runtime.registry
    limiter = ConcurrencyLimiter()
    read_limiter = ConcurrencyLimiter(MAX_READS, within=limiter, name="reads")
    lookup_limiter = ConcurrencyLimiter(MAX_LOOKUPS, within=limiter, max_waiting=MAX_WAITING_LOOKUPS, name="lookups")
    access_control = _make_access_control(runtime, lookup_limiter)
    runs = RunReader(client, registry.slots)
    waiter = RunWaiter(client, runs, runtime.long_requests)
    submitter, canceller = Submitter(client, runtime.queues), Canceller(client, runs)
    log_reader = LogReader(client, runs, runtime.long_requests)
    statuses = DefinitionStatuses(client, registry.all)
    app.register_blueprint(jobs_blueprint(access_control, submitter, waiter, limiter))
    app.register_blueprint(runs_blueprint(access_control, runs, canceller, waiter, read_limiter))
    app.register_blueprint(logs_blueprint(access_control, log_reader, read_limiter))
    app.register_blueprint(status_blueprint(access_control, statuses, read_limiter))
    app.register_blueprint(openapi_blueprint())


def _add_probe_routes(app: Flask, runtime: Runtime) -> None:
    health = Health(runtime.client, runtime.dispatcher)
    app.register_blueprint(health_blueprint(health, runtime.dispatcher_state, lambda: runtime.config_watcher.state))
    app.register_blueprint(metrics_blueprint(runtime.registry, hide_private=runtime.settings.hide_private))


def _make_access_control(runtime: Runtime, lookup_limiter: ConcurrencyLimiter) -> AccessControl:
    settings = runtime.settings
    rules = TrustRules(
        networks=settings.trusted_networks,
        proxies=settings.trusted_proxies,
        accounts=tuple(Account(namespace, name) for namespace, name in settings.trusted_service_accounts),
    )
    authorizer = Authorizer(rules, Identities(runtime.client, settings.token_audience, lookup_limiter))
    return AccessControl(runtime.registry, authorizer, hide_private=settings.hide_private)
