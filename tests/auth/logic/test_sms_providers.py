"""SMS services: the requests they expect and how their answers are read."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import parse_qs

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.auth.logic import sms_providers as sms

PROVIDERS = ("twilio", "twilio_verify", "messagebird", "textlocal", "vonage")


def account(provider: str, **more: str) -> sms.SmsAccount:
    return sms.SmsAccount(
        provider=provider, account="AC/1", secret="s", sender="15550001", **more
    )  # fmt: skip


def message(provider: str, channel: str = "sms", **more: str) -> sms.SmsRequest:
    return sms.render_message(
        account(provider, **more), phone="15551234567", message="Code 123456", code="123456",
        channel=channel,
    )  # fmt: skip


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_service_gets_number_and_text(provider: str) -> None:
    request = message(provider)
    assert request.url.startswith("https://")
    form = parse_qs(request.form)
    assert "15551234567" in str(form)
    assert ("Code 123456" in str(form)) is (provider != "twilio_verify")
    assert "/AC/1" not in request.url
    assert "123456" not in repr(request)
    assert "AC/1" not in repr(request).replace(request.url, "")


def test_whatsapp_goes_through_twilio_only() -> None:
    form = parse_qs(message("twilio", "whatsapp", content_sid="HX").form)
    assert form["To"] == ["whatsapp:+15551234567"]
    assert form["From"] == ["whatsapp:15550001"]
    assert orjson.loads(form["ContentVariables"][0]) == {"1": "123456"}
    assert "Body" not in form
    for provider in ("messagebird", "textlocal", "vonage"):
        with pytest.raises(sms.SmsRefused):
            message(provider, "whatsapp")
    assert not sms.is_channel("fax", "twilio")


ACCEPTED = [
    ("twilio", 201, {"sid": "m1", "status": "queued"}),
    ("twilio_verify", 201, {"sid": "m1"}),
    ("messagebird", 201, {"id": "m1", "recipients": {"totalSentCount": 1}}),
    ("textlocal", 200, {"status": "success", "messages": [{"id": "m1"}]}),
    ("vonage", 200, {"messages": [{"status": "0", "message-id": "m1"}]}),
]


@pytest.mark.parametrize(("provider", "status", "answer"), ACCEPTED)
def test_accepted_messages(provider: str, status: int, answer: object) -> None:
    assert sms.read_message_answer(provider, status, orjson.dumps(answer)) == "m1"


REFUSED = [
    ("twilio", 400, {"code": 1, "message": "no"}),
    ("twilio", 201, {"sid": "m1", "status": "failed"}),
    ("messagebird", 401, {"errors": [{"description": "no"}]}),
    ("messagebird", 200, {"recipients": {"totalSentCount": 0}}),
    ("textlocal", 200, {"status": "failure", "errors": [{"code": 80}]}),
    ("vonage", 200, {"messages": [{"status": "4"}]}),
    ("vonage", 200, {"messages": []}),
]


@pytest.mark.parametrize(("provider", "status", "answer"), REFUSED)
def test_refused_messages(provider: str, status: int, answer: object) -> None:
    with pytest.raises(sms.SmsRefused):
        sms.read_message_answer(provider, status, orjson.dumps(answer))


values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["errors", "messages", "recipients", "status", "sid"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(st.sampled_from(PROVIDERS), st.sampled_from([200, 201, 400, 500]), values)
def test_no_answer_breaks_the_reader(provider: str, status: int, answer: object) -> None:
    for body in (orjson.dumps(answer), b"<html>"):
        with suppress(sms.SmsRefused):
            assert isinstance(sms.read_message_answer(provider, status, body), str)


def test_a_check_is_approved_only_when_both_say_so() -> None:
    assert sms.is_check_approved(200, b'{"status":"approved","valid":true}')
    for body in (
        b'{"status":"approved","valid":false}',
        b'{"status":"pending","valid":true}',
        b"",
        b"[]",
    ):
        assert not sms.is_check_approved(200, body)
    assert not sms.is_check_approved(404, b'{"status":"approved","valid":true}')
