"""The page at `/ui` in a real browser: a headless Chromium. Screenshots of every view are written to build/page."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kubernetes import client

from tests.support.browser import open_browser
from tests.support.servers import Server, delegated, write_kubeconfig
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS, until

pytestmark = [pytest.mark.needs_browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

PICTURES = Path(__file__).parents[2] / "build" / "page"
DEADLINE_MS = 1000 * DEADLINE_SECONDS
AXE = "axe_playwright_python"

BUSY: dict[str, Any] = {
    "Image": "busybox:1",
    "Visibility": "Public",
    "Args": ["sleep", "600"],
    "Environments": [{"Name": "TESTNODE_RUNS_FOR", "Value": "600s"}],
}
PRINTING = (
    'echo "reading $1 of $2"; for part in orders invoices refunds credits; do echo "  $part: done"; done; '
    'echo "writing the report"; exec sleep 600'
)
DEFINITIONS: dict[str, Any] = {
    "fibonacci": {**BUSY, "NumberParallelJob": 2, "ImagesWhitelist": ["busybox:*"], "TtlSecondsAfterFinished": 36000},
    "report": {
        **BUSY,
        # In a shell of its own, so that the run prints something; its arguments are the script's.
        "Command": ["sh", "-c", PRINTING, "report"],
        "Args": ["sales", "2026-10"],
        "MaxQueued": 100,
        "TimeoutSeconds": 3600,
        "EnvironmentsWhitelist": ["LOG_LEVEL", "REPORT_*"],
        "Resources": {"Limits": {"cpu": "400m", "memory": "400Mi"}},
    },
    "import": {**BUSY, "NumberParallelJob": 3, "DependsOn": ["warehouse", "cache"], "Overridable": ["Args"]},
    "payroll": {"Image": "busybox:1", "DependsOn": ["nobody"]},
}
APPEARANCES = {
    "wide-light": {"viewport": {"width": 1180, "height": 760}, "color_scheme": "light"},
    "wide-dark": {"viewport": {"width": 1180, "height": 760}, "color_scheme": "dark"},
    "phone-light": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True},
}

OpenPage = Callable[..., Any]
"""Opens a page of the service, at a hash and with options of the browser's context."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Run Chromium."""
    with open_browser() as running:
        yield running


@pytest.fixture
def service(server: Server, namespace: str, tmp_path: Path) -> Iterator[ServiceProcess]:
    """Run a replica that trusts the tokens of a ServiceAccount."""
    accounts: Any = client.CoreV1Api(server.admin)
    accounts.create_namespaced_service_account(namespace, {"metadata": {"name": "person"}})
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    trusted = {"SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS": f"{namespace}:person"}
    with (
        delegated(server, namespace),
        ServiceProcess(kubeconfig, {"Configurations": DEFINITIONS}, tmp_path / "log", **trusted) as running,
    ):
        yield running


@pytest.fixture
def open_page(browser: Any, service: ServiceProcess) -> Iterator[OpenPage]:
    """Open pages, and check at the end that no script has failed and the policy was never violated."""
    contexts, errors = [], []

    def note(message: Any) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            errors.append(message.text)

    def begin(at: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"reduced_motion": "reduce", **options})
        context.set_default_timeout(DEADLINE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{service.url}/ui{at}")
        return page

    yield begin
    for context in contexts:
        context.close()
    assert errors == []


def status_of(page: Any, run_id: str) -> Any:
    """Return what shows the status of a run in the list."""
    return page.locator("tr", has_text=run_id).locator(".chip")


def await_text(locator: Any, *texts: str) -> None:
    """Wait until an element shows one of these texts."""
    until(lambda: any(text in (locator.text_content() or "") for text in texts), pause_seconds=0.1)


def start_run(page: Any, arguments: str) -> str:
    """Start a run with the form, from the view of a definition; return its id. The view is then that of the run."""
    page.get_by_role("button", name="Start a run").click()
    page.get_by_label("Arguments, one on each line").fill(arguments)
    page.locator("dialog").get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/ui#/*/*")
    return str(page.url.rpartition("/")[2])


def test_page__starts_runs__shows_the_queue_move__and_cancels(open_page: OpenPage) -> None:
    """`report` has one slot."""
    page = open_page()
    page.get_by_role("link", name="report").click()
    first = start_run(page, "sales\n2026-10")
    await_text(page.locator("h1 + .chip, .head .chip"), "Running")
    page.get_by_label("Path").get_by_role("link", name="report").click()
    second = start_run(page, "sales\n2026-11")
    await_text(page.locator(".timeline"), "waits for a slot: 1 of 1 in use")
    page.get_by_label("Path").get_by_role("link", name="report").click()
    await_text(status_of(page, first), "Running")
    await_text(status_of(page, second), "Queued")
    await_text(page.locator(".facts"), "1 of 1 slot in use")
    await_text(page.locator(".facts"), "1 queued")

    page.get_by_role("button", name=f"Cancel {first}").click()
    page.get_by_role("button", name="Cancel the run").click()
    page.locator("dialog").wait_for(state="detached")
    await_text(status_of(page, second), "Running")
    until(lambda: status_of(page, first).count() == 0)

    page.get_by_role("button", name="Failed").click()
    await_text(page.locator(".empty"), "No failed runs.")

    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_role("link", name=second).click()
    page.get_by_role("button", name=f"Cancel {second}").click()
    page.get_by_role("button", name="Cancel the run").click()
    page.get_by_text("You cancelled it.").wait_for()


@pytest.mark.embedded_only("needs real processes, which print")
def test_log__is_followed_until_the_run_ends(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("#/fibonacci")
    go_on = tmp_path / "go on"
    script = f"echo first line; until [ -e '{go_on}' ]; do sleep 0.1; done; echo '<b>last</b> line'; exit 3"
    page.get_by_role("button", name="Start a run").click()
    page.get_by_label("Arguments, one on each line").fill(f"sh\n-c\n{script}")
    page.get_by_text("More settings").click()
    page.get_by_label("Retries").fill("0")
    page.locator("dialog").get_by_role("button", name="Start", exact=True).click()
    await_text(page.locator(".log"), "first line")
    assert "last" not in page.locator(".log").text_content()
    go_on.touch()
    await_text(page.locator(".timeline"), "exit code 3")
    await_text(page.locator(".head .chip"), "Failed")
    assert page.locator(".log").text_content() == "first line\n<b>last</b> line\n"
    assert page.locator(".log b").count() == 0

    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove the run").click()
    page.get_by_text("This run is gone").wait_for()
    assert page.get_by_text("You removed it.").is_visible()


def test_form__shows_why_a_request_would_be_refused(open_page: OpenPage, service: ServiceProcess) -> None:
    page = open_page("#/report")
    page.get_by_role("button", name="Start a run").click()
    await_text(page.locator(".verdict"), "would be accepted")
    page.get_by_label("Environment variables").fill("LOG_LEVEL=debug\nEVIL=1")
    page.get_by_text("More settings").click()
    page.get_by_label("Limit of cpu").fill("8")
    page.get_by_label("Longest time to run").fill("7200")
    await_text(page.locator(".field", has_text="Environment variables"), "Line 2: not among the variables")
    await_text(page.locator(".field", has_text="Limit of cpu"), "Above this definition's maximum of 400m.")
    await_text(page.locator(".field", has_text="Longest time to run"), "Above this definition's maximum of 3600.")
    assert page.get_by_label("Limit of cpu").get_attribute("aria-invalid") == "true"
    page.locator("dialog").get_by_role("button", name="Start", exact=True).click()
    await_text(page.locator(".verdict"), "See what is marked above", "can't be applied")
    assert service.get("/job/report").json() == []

    page.get_by_label("Limit of cpu").fill("200m")
    page.get_by_label("Environment variables").fill("LOG_LEVEL")
    page.locator("dialog").get_by_role("button", name="Start", exact=True).click()
    await_text(page.locator(".field", has_text="Environment variables"), "Line 1: write NAME=value.")
    await_text(page.locator(".verdict"), "See what is marked above")
    page.get_by_label("Environment variables").fill("LOG_LEVEL=debug")
    page.get_by_label("Longest time to run").fill("")
    await_text(page.locator(".verdict"), "would be accepted")
    page.locator("dialog").get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/ui#/report/*")
    run = service.get(f"/job/report/{page.url.rpartition('/')[2]}").json()
    assert run["Resources"]["Limits"] == {"cpu": "200m", "memory": "400Mi"}


def test_schedules__are_added_paused_and_deleted(open_page: OpenPage) -> None:
    page = open_page("#/import")
    page.get_by_role("button", name="Add a schedule").click()
    times = page.locator(".field", has_text="At these times")
    await_text(page.locator(".verdict"), "Still needed: At these times.")
    assert not times.locator(".error").is_visible()
    page.get_by_label("At these times").blur()
    times.locator(".error").wait_for()
    page.get_by_label("At these times").fill("61 6 * * *")
    await_text(page.locator(".field", has_text="At these times"), "61")
    page.get_by_label("At these times").fill("0 6 1 1 *")
    page.get_by_label("Time zone").fill("Europe/Paris")
    page.get_by_label("Arguments, one on each line").fill("orders")
    await_text(page.locator(".verdict"), "would be accepted")
    page.get_by_role("button", name="Add", exact=True).click()
    schedule = page.locator(".schedule-list li")
    await_text(schedule, "0 6 1 1 *Europe/Paris")
    await_text(schedule, "next")
    page.get_by_role("button", name="Pause").click()
    await_text(schedule, "paused")
    page.get_by_role("button", name="Resume").click()
    await_text(schedule, "next")
    schedule.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete the schedule").click()
    until(lambda: schedule.count() == 0)


def test_page__works_with_the_keyboard_alone(open_page: OpenPage) -> None:
    page = open_page("#/import")
    button = page.get_by_role("button", name="Start a run")
    button.wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    until(lambda: page.keyboard.press("Tab") or button.evaluate("one => one === document.activeElement"))
    page.keyboard.press("Enter")
    page.locator("dialog").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    assert button.evaluate("one => one === document.activeElement")
    page.keyboard.press("Enter")
    page.keyboard.type("orders")
    start = page.locator("dialog").get_by_role("button", name="Start", exact=True)
    until(lambda: page.keyboard.press("Tab") or start.evaluate("one => one === document.activeElement"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui#/import/*")
    await_text(page.locator(".timeline"), "warehouse (not found)")


def test_page__offline_and_back(open_page: OpenPage) -> None:
    page = open_page("#/report")
    await_text(page.locator("#state"), "Live")
    page.context.set_offline(True)
    await_text(page.locator("#state"), "Offline")
    await_text(page.locator("#banner"), "What you see may be out of date.")
    assert page.get_by_role("heading", name="report").is_visible()
    page.context.set_offline(False)
    await_text(page.locator("#state"), "Live")
    assert not page.locator("#banner").is_visible()


def test_page__shows_an_outage_of_the_service_and_goes_on_after_it(
    open_page: OpenPage, service: ServiceProcess
) -> None:
    page = open_page("#/report")
    await_text(page.locator("#state"), "Live")
    service.kill()
    await_text(page.locator("#banner"), "The service can't be reached.")
    service.start()
    await_text(page.locator("#state"), "Live")
    start_run(page, "sleep\n600")
    await_text(page.locator(".head .chip"), "Running", "Pending", "Queued")


def test_hidden_tab__asks_for_nothing(open_page: OpenPage) -> None:
    """With a clock that the test sets forward: an hour passes."""
    page = open_page()
    await_text(page.locator("#state"), "Live")
    page.clock.install()
    page.goto(f"{page.url}#/report")
    await_text(page.locator("#state"), "Live")
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    await_text(page.locator("#state"), "Paused")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.fast_forward("01:00:00")
    page.evaluate("fetch('health')")  # requests are in order: what came before it has been seen
    until(lambda: page.evaluate("1") and asked)
    assert [urlsplit(url).path for url in asked] == ["/health"]
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: false, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    await_text(page.locator("#state"), "Live")
    assert len(asked) > 1


def test_token__opens_private_definitions_and_stays_in_the_tab(
    open_page: OpenPage, server: Server, namespace: str
) -> None:
    core: Any = client.CoreV1Api(server.admin)
    spec = {"spec": {"audiences": ["slimfaas-jobs"], "expirationSeconds": 600}}
    token = core.create_namespaced_service_account_token("person", namespace, spec).status.token
    page = open_page()
    page.get_by_role("link", name="report").wait_for()
    assert page.get_by_role("link", name="payroll").count() == 0
    page.get_by_role("button", name="Token").click()
    page.get_by_label("Bearer token").fill(token)
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("link", name="payroll").click()
    start_run(page, "everybody")
    await_text(page.locator(".timeline"), "nobody (not found)")
    assert token not in page.content()
    assert page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])") == '[{},{},""]'
    page.reload()
    page.get_by_text("this definition is private").wait_for()


def test_text_from_outside__stays_text(open_page: OpenPage) -> None:
    page = open_page("#/import")
    evil = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    start_run(page, evil)
    await_text(page.locator(".details"), evil)
    page.get_by_label("Path").get_by_role("link", name="import").click()
    await_text(page.locator(".runs"), evil)
    assert page.locator("main img, main script").count() == 0


def test_page__works_behind_a_path_prefix(open_page: OpenPage, service: ServiceProcess) -> None:
    """A proxy removes the prefix."""
    page = open_page()
    page.context.route("**/batch/**", lambda route: route.continue_(url=route.request.url.replace("/batch/", "/")))
    page.goto(f"{service.url}/batch/ui#/import")
    run = start_run(page, "orders")
    assert page.url == f"{service.url}/batch/ui#/import/{run}"
    await_text(page.locator(".timeline"), "warehouse (not found)")


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_views__have_no_accessibility_findings(
    open_page: OpenPage, service: ServiceProcess, server: Server, appearance: str
) -> None:
    """axe-core finds nothing, and nothing is wider than the window. Somebody looks at the pictures."""
    from axe_playwright_python.sync_playwright import Axe

    PICTURES.mkdir(parents=True, exist_ok=True)
    axe, page = Axe(), open_page(**APPEARANCES[appearance])

    def check(view: str) -> None:
        page.screenshot(path=PICTURES / f"{appearance}-{view}.png")
        results = axe.run(page)
        assert results.violations_count == 0, f"{view}: {results.generate_report()}"
        width = APPEARANCES[appearance]["viewport"]["width"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view

    for name, runs in {"fibonacci": 1, "report": 3, "import": 2}.items():
        for number in range(runs):
            arguments = ["sales", f"2026-{9 + number:02}"] if name == "report" else ["sleep", "600"]
            assert service.post(f"/job/{name}", {"Args": arguments}).status_code == 202
    failing = {"Args": ["sh", "-c", "echo no such table: sales; exit 2"], "BackoffLimit": 0}
    failed = service.post("/job/fibonacci", failing).json()["Id"]

    timetable = {"Schedule": "0 6 * * 1-5", "TimeZone": "Europe/Paris", "Args": ["sales", "month"]}
    assert service.post("/job-schedules/report", timetable).status_code == 201
    page.get_by_role("link", name="report").wait_for()
    await_text(page.locator(".card", has_text="report"), "2 queued")
    check("1-definitions")
    page.get_by_role("link", name="report").click()
    await_text(page.locator(".runs"), "#2")
    await_text(page.locator(".runs"), "Running")
    check("2-runs")
    page.get_by_role("button", name="Start a run").click()
    await_text(page.locator(".verdict"), "would be accepted")
    page.get_by_label("Environment variables").fill("EVIL=1")
    await_text(page.locator(".field", has_text="Environment variables"), "Line 1")
    check("3-start")
    page.keyboard.press("Escape")
    page.locator(".runs tbody tr", has_text="#2").get_by_role("link").click()
    await_text(page.locator(".timeline"), "waits for a slot")
    check("4-queued-run")
    page.get_by_role("button", name="Cancel").click()
    page.locator("dialog").wait_for()
    check("5-cancel")
    page.keyboard.press("Escape")
    page.goto(f"{service.url}/ui#/report")
    page.locator(".runs tbody tr", has_text="Running").get_by_role("link").click()
    if server.runs_processes:
        await_text(page.locator(".log"), "writing")
    check("9-running-run")
    page.goto(f"{service.url}/ui#/fibonacci/{failed}")
    await_text(page.locator(".timeline"), "Failed" if server.runs_processes else "Started")
    if server.runs_processes:
        await_text(page.locator(".log"), "no such table")
    check("6-ended-run")
    page.get_by_role("button", name="Token").click()
    page.get_by_label("Bearer token").wait_for()
    check("7-token")
    page.keyboard.press("Escape")
    page.goto(f"{service.url}/ui#/unknown")
    page.get_by_text("there is no such definition").wait_for()
    check("8-unknown")
