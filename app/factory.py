"""Assembles the web application: services, routes and middleware."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from app.api.access_control import AccessControl, Policy
from app.api.access_log import log_requests
from app.api.polling import PolledResponses
from app.api.problems import register_problem_handler
from app.api.public_url_middleware import PublicUrlMiddleware
from app.api.request_guard import guard_requests
from app.api.request_ids import RequestIdMiddleware
from app.api.request_metrics import count_requests
from app.api.routes.definitions import definitions_blueprint
from app.api.routes.entry import entry_blueprint
from app.api.routes.health import health_blueprint
from app.api.routes.jobs import PathRemainder, jobs_blueprint
from app.api.routes.logs import logs_blueprint
from app.api.routes.metrics import metrics_blueprint
from app.api.routes.openapi import openapi_blueprint
from app.api.routes.runs import runs_blueprint
from app.api.routes.schedules import schedules_blueprint
from app.api.routes.status import status_blueprint
from app.api.routes.ui import ui_blueprint
from app.auth.authorizer import Authorizer, TrustRules
from app.auth.identities import Identities
from app.auth.rbac_authorizer import RbacAuthorizer
from app.auth.reviews import Reviews
from app.auth.tokens import Account
from app.common.concurrency_limiter import MAX_LOOKUPS, MAX_READS, MAX_WAITING_LOOKUPS, ConcurrencyLimiter
from app.health import Health
from app.kube.client import NamespacedClient
from app.kube.credentials import ClusterSettingsError
from app.runs.cancel import Canceller
from app.runs.definition_status import DefinitionStatuses
from app.runs.logs.reader import LogReader
from app.runs.reader import RunReader
from app.runs.schedules.change import ScheduleChanger
from app.runs.schedules.counter import ScheduleCounter
from app.runs.schedules.create import ScheduleCreator
from app.runs.schedules.reader import ScheduleReader
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
    app = _make_flask(runtime.settings)
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
    app = _make_flask(runtime.settings)
    _add_probe_routes(app, runtime)
    return app


class _Application(Flask):
    """A Flask application without asynchronous functions."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function. Flask would inspect every one of a request's functions for each request."""
        return func


def _make_flask(settings: Settings) -> Flask:
    """Build an application without routes.

    It has what all requests need: their public URL and id, checks, an access log, metrics and problem documents.
    """
    app = _Application("slimfaas-jobs", static_folder=None)
    app.config.update(PROVIDE_AUTOMATIC_OPTIONS=False)
    public_url = PublicUrlMiddleware(app.wsgi_app, settings.trusted_proxies, settings.path_prefix)
    app.wsgi_app = RequestIdMiddleware(public_url)  # type: ignore[method-assign] # as Flask documents
    register_problem_handler(app)
    log_requests(app)
    count_requests(app)
    guard_requests(app, settings.allowed_origins, settings.allowed_hosts)
    return app


def _add_job_routes(app: Flask, runtime: Runtime) -> None:
    client, registry = runtime.client, runtime.registry
    limiter = ConcurrencyLimiter()
    read_limiter = ConcurrencyLimiter(MAX_READS, within=limiter, name="reads")
    lookup_limiter = ConcurrencyLimiter(MAX_LOOKUPS, within=limiter, max_waiting=MAX_WAITING_LOOKUPS, name="lookups")
    access_control = _make_access_control(runtime, lookup_limiter)
    runs = RunReader(client, registry.slots)
    waiter = RunWaiter(client, runs, runtime.long_requests)
    submitter, canceller = (
        Submitter(client, runtime.queues, key_secret=runtime.settings.key_secret),
        Canceller(client, runs),
    )
    log_reader = LogReader(client, runs, runtime.long_requests)
    statuses, polled = DefinitionStatuses(client, registry.all), PolledResponses()
    app.register_blueprint(jobs_blueprint(access_control, submitter, waiter, limiter))
    app.register_blueprint(runs_blueprint(access_control, runs, canceller, waiter, read_limiter, polled))
    app.register_blueprint(logs_blueprint(access_control, log_reader, runs, read_limiter))
    _add_schedule_routes(app, runtime, runs, access_control, limiter, polled)
    app.register_blueprint(status_blueprint(access_control, statuses, read_limiter, polled))
    app.register_blueprint(definitions_blueprint(access_control))
    app.register_blueprint(openapi_blueprint())
    app.register_blueprint(entry_blueprint(ui=runtime.settings.ui))
    if runtime.settings.ui:
        app.register_blueprint(ui_blueprint())


def _add_schedule_routes(
    app: Flask,
    runtime: Runtime,
    runs: RunReader,
    access_control: AccessControl,
    limiter: ConcurrencyLimiter,
    polled: PolledResponses,
) -> None:
    client, settings = runtime.client, runtime.settings
    reader = ScheduleReader(client)
    counter = ScheduleCounter(client)
    creator = ScheduleCreator(client, runtime.queues, counter, settings.max_schedules, key_secret=settings.key_secret)
    changer = ScheduleChanger(client, reader, runs, counter)
    app.register_blueprint(schedules_blueprint(access_control, creator, reader, changer, limiter, polled))


def _add_probe_routes(app: Flask, runtime: Runtime) -> None:
    health = Health(runtime.client, runtime.registry, runtime.dispatcher)
    watcher, templates = runtime.config_watcher, runtime.templates
    app.register_blueprint(
        health_blueprint(
            health,
            runtime.dispatcher_state,
            lambda: watcher.state,
            runtime.cronjobs_state,
            lambda: len(templates.refused),
            runtime.ignored_gates,
        )
    )
    app.register_blueprint(metrics_blueprint(runtime.registry, hide_private=runtime.settings.hide_private))


def _make_access_control(runtime: Runtime, lookup_limiter: ConcurrencyLimiter) -> AccessControl:
    settings = runtime.settings
    return AccessControl(
        runtime.registry,
        _make_policy(settings, runtime.client, lookup_limiter),
        hide_private=settings.hide_private,
        public_listing=settings.public_listing,
    )


def _make_policy(settings: Settings, client: NamespacedClient, limiter: ConcurrencyLimiter) -> Policy:
    if settings.authorization == "rbac":
        return RbacAuthorizer(Reviews(client, settings.token_audience, limiter), settings.trusted_proxies)
    rules = TrustRules(
        networks=settings.trusted_networks,
        proxies=settings.trusted_proxies,
        accounts=tuple(Account(namespace, name) for namespace, name in settings.trusted_service_accounts),
    )
    return Authorizer(rules, Identities(client, settings.token_audience, limiter))
