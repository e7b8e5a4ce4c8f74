"""The request that tells of an end, read by the SDKs of CloudEvents and of Standard Webhooks."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.domain.run import Phase, Run
from app.domain.run_end import RunEnd
from app.notifications.event import EventRequest, build_event_request
from app.notifications.signature import SecretError, build_signature_headers, read_secrets
from schemas.notify import EventFormat

ENDED_AT = 1_790_000_000_000_000
VIEW: dict[str, Any] = {"Id": "mzxw6ytboi4q", "Status": "Failed", "Result": "naïve ✓", "ExitCode": 3}
RUN = Run(
    "5f1b",
    "fib-slimfaas-job-mzxw6ytboi4q",
    "fib",
    7,
    0,
    (),
    Phase.FINISHED,
    end=RunEnd("failed", "BackoffLimitExceeded", ended_at=ENDED_AT),
)
OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def request(event_format: EventFormat) -> EventRequest:
    return build_event_request(RUN, VIEW, "shop", event_format)


@pytest.mark.parametrize("event_format", ["Structured", "Binary"])
def test_event__is_a_cloud_event_in_both_formats(event_format: EventFormat) -> None:
    built = request(event_format)
    event = from_http_event(HTTPMessage(headers={k.lower(): v for k, v in built.headers.items()}, body=built.body))
    assert event.get_specversion() == "1.0"
    assert event.get_id() == built.id == "5f1b-ended"
    assert event.get_source() == "/namespaces/shop/job/fib"
    assert event.get_type() == "dev.slimfaas.run.failed"
    assert event.get_subject() == "mzxw6ytboi4q"
    assert event.get_time() == datetime.fromtimestamp(ENDED_AT / 1_000_000, UTC)
    data = event.get_data()
    assert (data if isinstance(data, dict) else json.loads(data)) == VIEW  # type: ignore[arg-type]


def test_event__of_an_end_whose_time_is_unknown__has_no_time() -> None:
    run = Run("u", "fib-slimfaas-job-a", "fib", 1, 0, (), Phase.FINISHED, end=RunEnd("succeeded"))
    assert "time" not in json.loads(build_event_request(run, VIEW, "shop", "Structured").body)


def test_signature__is_accepted_with_the_old_and_with_the_new_secret() -> None:
    built = request("Structured")
    secrets = read_secrets(f"whsec_{NEW}\nwhsec_{OLD}\n")
    headers = build_signature_headers(built.id, int(datetime.now(UTC).timestamp()), built.body, secrets)
    for secret in (OLD, NEW):
        assert Webhook(f"whsec_{secret}").verify(built.body, headers)["data"] == VIEW
    with pytest.raises(WebhookVerificationError):
        Webhook(base64.b64encode(b"3" * 32).decode()).verify(built.body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(built.body + b" ", headers)


def test_signature__without_a_secret__is_left_out() -> None:
    headers = build_signature_headers("id", 1, b"{}", ())
    assert headers == {"webhook-id": "id", "webhook-timestamp": "1"}


@pytest.mark.parametrize(
    "text", ["", " \n", "whsec_###", "whsec_c2hvcnQ=", f"{OLD} {OLD} {OLD}", f"whsec_{OLD * 3}", "héé"]
)
def test_read_secrets__refuses_what_is_no_secret_without_quoting_it(text: str) -> None:
    with pytest.raises(SecretError) as refusal:
        read_secrets(text)
    assert not text.strip() or text not in str(refusal.value)
